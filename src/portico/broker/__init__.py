# SPDX-License-Identifier: Apache-2.0
"""From committed revisions to backends. May import `store`, `contract`, `backends`, `hoststate`, `model`."""
