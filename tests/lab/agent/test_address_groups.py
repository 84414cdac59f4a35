# SPDX-License-Identifier: Apache-2.0
"""Address groups as long as block lists are."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from portico.hoststate import Member, Rule
from portico.testing.rig import ANY, NET_A, NET_B, Rig, group, network, port

pytestmark = pytest.mark.lab

MANY = 2000


def test_thousands_of_ranges_and_addresses_are_in_force_within_seconds(rig: Rig) -> None:
    ranges = [str(IPv4Network((0x0A010000 + 16 * number, 29))) for number in range(MANY)]
    single = [f"10.2.{number // 250}.{number % 250 + 1}/32" for number in range(MANY)]
    listed = [Member("list", net, cidr) for net in (NET_A, NET_B) for cidr in (*ranges, *single)]
    open_to = group(1, *ANY, Rule("ingress", "IPv4", remote_group_id="list"))
    client = group(2, *ANY)
    a, b = port(1, client.group_id), port(2, open_to.group_id)
    rig.want(network(NET_A), network(NET_B), open_to, client, a, b)
    rig.start()
    wa = rig.plug("a", a, "10.0.0.1/24")
    rig.plug("b", b, "10.0.0.2/24")
    assert wa.misses("10.0.0.2")
    whole = rig.want(*listed)
    own = [Member("list", NET_A, "10.0.0.1/32")]
    one = rig.want(*own)
    assert wa.pings("10.0.0.2")
    less = rig.want(gone=[*own, listed[0]])
    assert wa.misses("10.0.0.2")
    assert whole < 30 and one < 10 and less < 10
