# SPDX-License-Identifier: Apache-2.0
"""Connections that a change cuts, and those that it leaves alone, with real ones."""

from __future__ import annotations

import time

import pytest

from portico.hoststate import Guard, Rule, Source
from portico.testing import frames
from portico.testing.lab import Process
from portico.testing.rig import ANY, Rig, group, network, port

pytestmark = pytest.mark.lab

OPEN = (*ANY, Rule("ingress", "IPv4"), Rule("ingress", "IPv6"))


def is_answered(talk: Process, seconds: float = 0.6) -> bool:
    """Return whether a client is answered, from 0.3 s from now on."""
    time.sleep(0.3)
    mark = len(talk.output)
    time.sleep(seconds)
    return "answered" in talk.output[mark:]


def test_a_rule_that_goes_takes_connections_over_link_local_addresses_along(rig: Rig) -> None:
    client, served = group(1, *ANY), group(2, *OPEN)
    a, b = port(1, client.group_id), port(2, served.group_id)
    rig.want(network(), client, served, a, b)
    rig.start()
    wa, wb = rig.plug("a", a), rig.plug("b", b)
    local = "fe80::200:5eff:fe00:5302%eth0"
    for workload in (wa, wb):
        workload.run("ip", "link", "set", "eth0", "addrgenmode", "eui64")
    time.sleep(2.5)  # duplicate address detection
    wb.python(SERVE_LOCAL, local).wait_for_text("serving", 20)
    talk = wa.talk(local, 80)
    rig.want(group(2, *ANY))
    assert not is_answered(talk)


def test_a_port_that_may_have_any_address_keeps_no_connection_of_anothers_alive(rig: Rig) -> None:
    client, served, wide = group(1, *ANY), group(2, *OPEN), group(3, *OPEN)
    a, b, c = port(1, client.group_id), port(2, served.group_id), port(3, wide.group_id)
    assert c.guard
    c = port(3, guard=Guard((*c.guard.sources, Source(c.mac, "0.0.0.0/0")), (wide.group_id,)))
    rig.want(network(), client, served, wide, a, b, c)
    rig.start()
    wa, wb = rig.plug("a", a, "10.0.0.1/24"), rig.plug("b", b, "10.0.0.2/24")
    wb.serve("tcp", "10.0.0.2", 80)
    talk = wa.talk("10.0.0.2", 80)
    rig.want(gone=[c])
    assert is_answered(talk)
    rig.want(c)
    assert is_answered(talk)
    rig.want(group(2, *ANY))
    assert not is_answered(talk)


def test_who_gets_an_address_does_not_get_the_flows_of_one_that_went_while_the_agent_was_down(rig: Rig) -> None:
    client, served, closed = group(1, *ANY), group(2, *OPEN), group(3, *ANY)
    a, b = port(1, client.group_id), port(2, served.group_id)
    heir = port(5, guard=Guard((Source("00:00:5e:00:53:05", "10.0.0.2/32"),), (closed.group_id,)))
    rig.want(network(), client, served, closed, a, b)
    rig.start()
    wa, _ = rig.plug("a", a, "10.0.0.1/24"), rig.plug("b", b, "10.0.0.2/24")

    def hello(to: str) -> bytes:
        packet = frames.ipv4("10.0.0.1", "10.0.0.2", frames.UDP, frames.udp(7, 9, b"persistent"))
        return frames.ethernet(to, a.mac, frames.IPV4, packet)

    wa.send(hello(b.mac))
    rig.pause()
    rig.want(gone=[b])
    rig.start()
    wa.send(hello(b.mac))
    rig.want(heir)
    sniffer = rig.plug("heir", heir, "10.0.0.2/24").sniff()
    wa.send(hello(heir.mac))
    time.sleep(0.5)
    assert b"persistent".hex() not in sniffer.output


def test_a_group_that_becomes_stateless_lets_no_more_answers_in(rig: Rig) -> None:
    client, served = group(1, *ANY), group(2, *OPEN)
    a, b = port(1, client.group_id), port(2, served.group_id)
    rig.want(network(), client, served, a, b)
    rig.start()
    wa, wb = rig.plug("a", a, "10.0.0.1/24"), rig.plug("b", b, "10.0.0.2/24")
    wb.serve("tcp", "10.0.0.2", 80)
    talk = wa.talk("10.0.0.2", 80)
    assert is_answered(talk)
    rig.want(group(1, *ANY, stateful=False))
    assert not is_answered(talk)
    assert wa.is_kept_from("tcp", "10.0.0.2", 80)
    rig.want(group(1, *ANY))
    assert wa.reaches("tcp", "10.0.0.2", 80)


def test_the_mark_that_a_container_sets_is_not_ours(rig: Rig) -> None:
    closed, served = group(1, *ANY), group(2, *OPEN)
    a, b, c = port(1, closed.group_id), port(2, closed.group_id), port(3, served.group_id)
    rig.want(network(), closed, served, a, b, c)
    rig.start()
    wa = rig.plug("a", a, "10.0.0.1/24")
    rig.plug("b", b, "10.0.0.2/24")
    rig.plug("c", c, "10.0.0.3/24")
    for mark in (0x10000, 0x40000, 0x50000):
        ping = ("ping", "-m", str(mark), "-i", "0.1")
        assert wa.run(*ping, "-c", "1", "-w", "10", "10.0.0.3").ok
        assert not wa.run(*ping, "-c", "2", "-W", "0.4", "10.0.0.2", check=False).ok


SERVE_LOCAL = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
s.bind(socket.getaddrinfo(sys.argv[1], 80)[0][4])
s.listen()
print("serving")
c, _ = s.accept()
while data := c.recv(2000):
    c.sendall(data)
"""
