# SPDX-License-Identifier: Apache-2.0
"""Conntrack helpers of routers. Pure; may import what `contract` may."""

from __future__ import annotations

from portico.hoststate.l3 import Reader
from portico.model.snapshot import Snapshot


def helpers(want: Snapshot, router_id: str) -> tuple[Reader, ...]:
    """Return what helps connections through a router; of several for one port, the first by name comes first."""
    found = (want.helpers[item] for item in want.helpers_of_router.get(router_id, ()))
    told = sorted((item.protocol, item.port, item.helper) for item in found)
    return tuple(Reader(*item) for item in told)
