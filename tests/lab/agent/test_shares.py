# SPDX-License-Identifier: Apache-2.0
"""What floating IPs and all else may use of a gateway, with real packets; live changes, strangers, a new agent."""

from __future__ import annotations

import re

import msgspec
import pytest

from portico.agent import owner
from portico.hoststate import Bridge, Limit, Router, Standing
from portico.hoststate.l3 import Floating
from portico.hoststate.limit import Share
from portico.testing.lab import wait_until
from portico.testing.rig import Rig, Workload

from .test_explain import differences
from .test_qos import RECEIVE, SEND, Stream
from .test_routed import EVERYBODY, routed
from .test_routed_outside import BEYOND, FLOATING, SPACE, start
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


LEG = (owner.leg_link(gateway(1).port_id), owner.share_link(gateway(1).port_id))
SPACE_LINKS = (owner.SPACE_LINK, owner.SPACE_SHARE_LINK)


def control(rig: Rig, links: tuple[str, str] = LEG) -> list[str]:
    """Return all that divides links, or leads to such that do, in the agent's namespace; without what is counted.

    Nor with what the fast path has there, with its clsact: that is anew with every agent, and stays.
    """
    found = []
    for link in links:
        for kind in ("qdisc show", "class show", "filter show", "filter show ingress"):
            words, hook = kind.split(" ")[:2], kind.split(" ")[2:]
            told = rig.host.run(["tc", "-n", "portico", *words, "dev", link, *hook], check=False).out
            found += [re.sub(r"stat \d+", "", line) for line in told.splitlines() if "noqueue" not in line]
    return [line for line in found if not line.startswith(("qdisc clsact", "filter protocol all pref 1 bpf"))]


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
    mend(rig, LEG, len(before))
    rig.want(sharing(Share(""), Share(NINE, Limit(60_000))))
    out.settles(*near(60_000))
    back.settles(80_000, float("inf"))
    rig.want(sharing())
    wait_until("nothing is left", lambda: control(rig) == [], 10, lambda: str(control(rig)))


def mend(rig: Rig, links: tuple[str, str], count: int) -> None:
    """Take away what a stranger could, one after the other, and wait until it is there again."""
    near_link, middle = links
    for command in (
        f"tc -n portico qdisc del dev {near_link} root",
        f"tc -n portico qdisc del dev {near_link} clsact",
        f"ip -n portico link del {middle}",
    ):
        rig.host.run(command.split())
        wait_until(
            f"mended after {command}", lambda: len(control(rig, links)) == count, 15, lambda: str(control(rig, links))
        )


def test_floating_ips_of_routed_ports_have_their_shares_of_the_link_to_the_host(rig: Rig) -> None:
    a, b = start(rig)
    beyond = Workload("beyond", b.vif, rig.host)
    led = routed(2, EVERYBODY.group_id, floating=(Standing(FLOATING, "10.0.0.2"),))
    led = msgspec.structs.replace(led, routes=(*led.routes, f"{FLOATING}/32"))
    rig.want(led, msgspec.structs.replace(SPACE, shares=(Share(FLOATING, Limit(20_000), Limit(40_000)),)))
    out = Through(b, beyond, BEYOND, BEYOND, 5003)
    back = Through(beyond, b, "10.0.0.2", FLOATING, 5004)
    rest = Through(a, beyond, BEYOND, BEYOND, 5005)
    out.settles(*near(20_000))
    back.settles(*near(40_000))
    rest.settles(80_000, float("inf"))
    before = control(rig, SPACE_LINKS)
    assert differences(rig, b.vif.port_id) == []
    rig.pause()
    rig.start()
    assert control(rig, SPACE_LINKS) == before, "a new agent takes over what there is"
    mend(rig, SPACE_LINKS, len(before))
    rig.want(SPACE)
    wait_until("nothing is left", lambda: control(rig, SPACE_LINKS) == [], 10, lambda: str(control(rig, SPACE_LINKS)))
