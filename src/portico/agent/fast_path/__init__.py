# SPDX-License-Identifier: Apache-2.0
"""The short way of established connections past bridges, routers, rules and connection tracking."""
