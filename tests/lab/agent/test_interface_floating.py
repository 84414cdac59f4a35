# SPDX-License-Identifier: Apache-2.0
"""Floating addresses at an interface of a router, which has a gateway besides: real packets, and their sources."""

from __future__ import annotations

import sys

import msgspec
import pytest

from portico.hoststate import Bridge, Router
from portico.hoststate.l3 import Floating
from portico.testing.lab import Lab
from portico.testing.rig import Rig

from .test_explain import differences
from .test_router import ALL, OUTER, OUTSIDE, network_id, peers, plug, router, seen_as, vif

pytestmark = pytest.mark.lab

FAR, NEAR = "192.0.2.7", "10.2.0.5"
_ASK_FROM = """
import socket, sys
s = socket.create_connection((sys.argv[1], 80), float(sys.argv[3]), source_address=(sys.argv[2], 0))
s.sendall(b"?")
print(s.recv(100).decode().removeprefix("::ffff:"))
"""


def floating(beyond: str) -> Router:
    """Return a router with 10.2.0.9 on the second network for 10.1.0.5 on the first."""
    _, two, out = (leg.port_id for leg in router(1).legs)
    found = router(1, Floating("10.2.0.9", two, "10.1.0.5"), Floating(f"{OUTER}.9", out, "10.1.0.7"))
    legs = (found.legs[0], msgspec.structs.replace(found.legs[1], floats=True, beyond=beyond), found.legs[2])
    return msgspec.structs.replace(found, legs=legs)


def test_an_interface_has_floating_addresses_and_all_else_passes_it_as_before() -> None:
    with Lab() as lab:
        rig = Rig(lab.host("one"))
        bridges = [Bridge(network_id(1, place), 1450) for place in (1, 2)]
        ports = vif(1, 1, 5), vif(1, 2, 5), vif(3, 3, 254, OUTSIDE)
        rig.want(ALL, *bridges, Bridge(OUTSIDE, 1450), *ports, floating(NEAR))
        rig.start()
        blue, green, outer = (plug(rig, name, it) for name, it in zip(("blue", "green", "outer"), ports, strict=True))
        for workload in (blue, green, outer):
            peers(workload, "tcp", 80)
        assert seen_as(green, "10.2.0.9", 80) == NEAR, "who asks keeps the address"
        assert seen_as(blue, NEAR, 80) == "10.2.0.9"
        assert seen_as(green, "10.1.0.5", 80) == NEAR, "by its own address it is reached as ever"
        assert seen_as(green, f"{OUTER}.254", 80) == f"{OUTER}.1", "and what is from there leaves as ever"
        assert differences(rig, blue.vif.port_id) == []
        # who is far behind that network is answered by it, not by where all else goes
        rig.want(msgspec.structs.replace(green.vif, guard=None))
        green.run("ip", "addr", "add", f"{FAR}/32", "dev", "lo")

        def asks_from_far(patience_s: float) -> str:
            argv = (sys.executable, "-I", "-S", "-c", _ASK_FROM, "10.2.0.9", FAR, str(patience_s))
            return green.run(*argv, check=False).out.strip()

        assert asks_from_far(10) == FAR
        rig.want(floating(""))
        assert asks_from_far(0.3) == ""
        rig.want(router(1))
        assert seen_as(green, "10.2.0.9", 80, patience_s=0.3) == ""
        assert seen_as(blue, NEAR, 80) == "10.1.0.5"
