# SPDX-License-Identifier: Apache-2.0
"""What a port's limits come to: token buckets, and rules of the filter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.agent.delta import Wanted
from portico.agent.fragment import METERED, UNGUARDED, Element, fragment
from portico.agent.shaper import shape
from portico.hoststate import ROUTED, Bridge, Guard, Limit, Qos, Source, Space, Vif

MAC = "00:00:5e:00:53:01"
LINK = '"pb11111111-11"'
ID = "11111111-1111-4111-8111-111111111111"


@given(st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(68, 65535))
def test_a_bucket_holds_a_packet_and_the_kernel_has_words_for_it(rate: int, burst: int, mtu: int) -> None:
    found = shape(Limit(rate, burst), mtu)
    assert found.rate == rate * 125
    assert 0 < found.ticks < 2**26 and 64 * 1024 <= found.queue < 2**32
    held = found.ticks * 64 * found.rate // 1_000_000_000
    assert held >= min(burst * 125, 4 * found.rate) and held >= min(mtu, 4 * found.rate)


@pytest.mark.parametrize("network", ["n1", ROUTED])
@pytest.mark.parametrize("guard", [None, Guard((Source(MAC, "10.0.0.1/32"), Source(MAC, "10.1.0.0/16")), ("g",))])
def test_a_ports_packets_are_metered_however_its_mark_is_found(network: str, guard: Guard | None) -> None:
    qos = Qos(egress_packets=Limit(2000), ingress_packets=Limit(3000, 30), dscp=46)
    wanted = Wanted()
    wanted.change([Bridge("n1", 1500), Space(1500), Vif(ID, network, MAC, 1500, "pv", guard=guard, qos=qos)], ())
    found = fragment(wanted.objects[f"vif/{ID}"], wanted)
    assert found is not None
    table = "inet/" if network == ROUTED else ""
    marks = {int(value, 0) for value in found.elements.values() if value.startswith("0x")}
    assert marks == {wanted.zones[network] | METERED | (0 if guard else UNGUARDED)}
    assert found.elements[Element(f"{table}metered", LINK)] == f"jump meter-egress-{ID}"
    assert found.elements[Element(f"{table}ingress", LINK)] == f"goto meter-ingress-{ID}"
    sent, received = (found.chains[f"{table}meter-{direction}-{ID}"] for direction in ("egress", "ingress"))
    assert sent == ("limit rate over 2000/second burst 200 packets drop", "ip dscp set 46", "ip6 dscp set 46")
    assert received[0] == "limit rate over 3000/second burst 30 packets drop"
    assert received[1] == "accept" if guard is None else received[1].startswith("goto ingress-")
    assert len(received) == 2


def test_a_port_without_packet_limits_is_as_it_was() -> None:
    wanted = Wanted()
    wanted.change([Bridge("n1", 1500), Vif(ID, "n1", MAC, 1500, "pv", qos=Qos(Limit(1000), Limit(1000)))], ())
    limited = fragment(wanted.objects[f"vif/{ID}"], wanted)
    wanted.change([Vif(ID, "n1", MAC, 1500, "pv")], ())
    assert limited == fragment(wanted.objects[f"vif/{ID}"], wanted)
