# SPDX-License-Identifier: Apache-2.0
"""Wanted state, committed. May import `model` and `errors`."""
