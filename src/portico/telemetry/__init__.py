# SPDX-License-Identifier: Apache-2.0
"""What can be known of a running API server: metrics, the audit log, profiles, and which request is in hand."""
