# SPDX-License-Identifier: Apache-2.0
"""Conntrack helpers in what hosts are to have of routers."""

from __future__ import annotations

from portico import planning
from portico.hoststate.l3 import Reader
from portico.testing.router_suite import joined_world
from portico.testing.router_world import OUTSIDE, PutRouter, l3_id
from portico.testing.world import PutPort, object_id

ROUTER = l3_id("router", 0)


def test_a_router_has_its_helpers_in_an_order_of_their_own() -> None:
    want = joined_world(PutRouter(0, (0, 2), outside=True), PutPort(0, 0), PutPort(4, OUTSIDE)).snapshot()
    host = want.ports[object_id("port", 0)].host
    for number, (protocol, port, helper) in enumerate((("udp", 69, "tftp"), ("tcp", 21, "sip"), ("tcp", 21, "ftp"))):
        row = {"id": f"helper{number}", "router_id": ROUTER, "protocol": protocol, "port": port, "helper": helper}
        want.put("conntrack_helper", row)
    want.put("conntrack_helper", {**row, "id": "other", "router_id": "other"})
    told = planning.routers.router(want, host, ROUTER).helpers
    assert told == (Reader("tcp", 21, "ftp"), Reader("tcp", 21, "sip"), Reader("udp", 69, "tftp"))
    want.remove("conntrack_helper", "helper2")
    assert len(planning.routers.router(want, host, ROUTER).helpers) == 2
