# SPDX-License-Identifier: Apache-2.0
"""Datagrams in fragments, which the kernel puts together before it looks for their connection."""

from __future__ import annotations

import pytest

from portico.testing import frames
from portico.testing.rig import ANY, NET_A, NET_B, Rig, Workload, group, network, port

pytestmark = pytest.mark.lab


def halves(version: int, fill: bytes) -> tuple[bytes, bytes]:
    """Return a datagram from the first host to the second, in two fragments; `fill` tells the last one apart."""
    data = frames.udp(1, 2, b"first..." * 2 + fill * 8)
    if version == 4:
        return frames.fragments(frames.ipv4("10.0.0.1", "10.0.0.2", frames.UDP, data), 24)
    return frames.fragments(frames.ipv6("2001:db8::1", "2001:db8::2", frames.UDP, data), 24)


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_of_two_networks_with_equal_addresses_do_not_become_one_datagram(rig: Rig, version: int) -> None:
    anything = group(1, *ANY)
    wanted = {
        name: (port(1, anything.group_id, network=name), port(2, network=name, guard=None)) for name in (NET_A, NET_B)
    }
    rig.want(network(NET_A), network(NET_B), anything, *wanted[NET_A], *wanted[NET_B])
    rig.start()
    one, one_peer = (rig.plug(f"a{number}", vif) for number, vif in enumerate(wanted[NET_A]))
    two, _ = (rig.plug(f"b{number}", vif) for number, vif in enumerate(wanted[NET_B]))
    sniffer = one_peer.sniff()

    def send(sender: Workload, packet: bytes) -> None:
        kind = frames.IPV4 if version == 4 else frames.IPV6
        sender.send(frames.ethernet(one_peer.vif.mac, sender.vif.mac, kind, packet))

    send(one, halves(version, b"genuine.")[0])
    send(two, halves(version, b"foreign.")[1])
    send(one, halves(version, b"genuine.")[1])
    sniffer.wait_for_text(b"genuine.".hex(), 20)
    assert b"foreign.".hex() not in sniffer.output
