# SPDX-License-Identifier: Apache-2.0
"""What floating IPs and all else may use of a gateway, with real packets; live changes, strangers, a new agent."""

from __future__ import annotations

import re

import msgspec
import pytest

from portico.agent import owner
from portico.hoststate import Bridge, Limit, Router
from portico.hoststate.l3 import Floating
from portico.hoststate.limit import Share
from portico.testing.lab import wait_until
from portico.testing.rig import Rig, Workload

from .test_explain import differences
from .test_qos import RECEIVE, SEND, Stream
from .test_router import ALL, OUTER, OUTSIDE, gateway, network_id, plug, router, vif

pytestmark = pytest.mark.lab

NINE = f"{OUTER}.9"


class Through(Stream):
    """One TCP connection that sends all it can to `target`, which stands for `address` of the receiver."""

    def __init__(self, sender: Workload, receiver: Workload, address: str, target: str, number: int) -> None:
        self._end = receiver.python(RECEIVE.replace("5001", str(number)), address)
        self._end.wait_for_text("serving", 20)
        sender.python(SEND.replace("5001", str(number)), target)


def near(kbit: int) -> tuple[int, float]:
    """Return between what a stream is that may have so much: no other share here is in there."""
    return int(kbit * 0.7), kbit * 1.2


def sharing(*shares: Share) -> Router:
    """Return a router with a floating address whose gateway is shared."""
    plain = router(1, Floating(NINE, gateway(1).port_id, "10.1.0.5"))
    legs = (msgspec.structs.replace(leg, shares=shares if leg.outside else ()) for leg in plain.legs)
    return msgspec.structs.replace(plain, legs=tuple(legs))


def control(rig: Rig) -> list[str]:
    """Return all that divides links, or leads to such that do, in the agent's namespace; without what is counted."""
    links = (owner.leg_link(gateway(1).port_id), owner.share_link(gateway(1).port_id))
    found = []
    for link in links:
        for kind in ("qdisc show", "class show", "filter show", "filter show ingress"):
            words, hook = kind.split(" ")[:2], kind.split(" ")[2:]
            told = rig.host.run(["tc", "-n", "portico", *words, "dev", link, *hook], check=False).out
            found += [re.sub(r"stat \d+", "", line) for line in told.splitlines() if "noqueue" not in line]
    return found


def test_addresses_outside_have_their_shares_of_a_gateway(rig: Rig) -> None:
    bridges = [Bridge(network_id(1, place), 1450) for place in (1, 2)]
    ports = vif(1, 1, 5), vif(1, 2, 5), vif(3, 3, 254, OUTSIDE)
    rig.want(ALL, *bridges, Bridge(OUTSIDE, 1450), *ports)
    nine = Share(NINE, Limit(20_000), Limit(40_000))
    rig.want(sharing(Share("", Limit(10_000)), nine))
    rig.start()
    blue, green, outer = (plug(rig, name, port) for name, port in zip(("blue", "green", "outer"), ports, strict=True))
    out = Through(blue, outer, f"{OUTER}.254", f"{OUTER}.254", 5003)
    back = Through(outer, blue, "10.1.0.5", NINE, 5004)
    rest = Through(green, outer, f"{OUTER}.254", f"{OUTER}.254", 5005)
    for stream, rate in ((out, 20_000), (back, 40_000), (rest, 10_000)):
        stream.settles(*near(rate))
    before = control(rig)
    assert differences(rig, ports[0].port_id) == []
    rig.pause()
    rig.start()
    assert control(rig) == before, "a new agent takes over what there is, with its handles"
    mend(rig, len(before))
    rig.want(sharing(Share(""), Share(NINE, Limit(60_000))))
    out.settles(*near(60_000))
    back.settles(80_000, float("inf"))
    rig.want(sharing())
    wait_until("nothing is left", lambda: control(rig) == [], 10, lambda: str(control(rig)))


def mend(rig: Rig, count: int) -> None:
    """Take away what a stranger could, one after the other, and wait until it is there again."""
    near_link, middle = owner.leg_link(gateway(1).port_id), owner.share_link(gateway(1).port_id)
    for command in (
        f"tc -n portico qdisc del dev {near_link} root",
        f"tc -n portico qdisc del dev {near_link} clsact",
        f"ip -n portico link del {middle}",
    ):
        rig.host.run(command.split())
        wait_until(f"mended after {command}", lambda: len(control(rig)) == count, 15, lambda: str(control(rig)))
