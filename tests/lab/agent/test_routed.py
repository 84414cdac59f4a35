# SPDX-License-Identifier: Apache-2.0
"""Routed ports on the real kernel: next hops, the host, the agent's death, strangers, and what is left behind."""

from __future__ import annotations

import time

import pytest

from portico.agent.drivers.link import NEXT_HOP_MAC
from portico.hoststate import NEXT_HOPS, ROUTED, Rule, Scope, Space, Vif
from portico.testing.lab import wait_until
from portico.testing.rig import ANY, Rig, Workload, answered, flow, group, lost, port

pytestmark = pytest.mark.lab

OPEN = (*ANY, Rule("ingress", "IPv4"), Rule("ingress", "IPv6"))
HOST = "203.0.113.1"
EVERYBODY = group(1, *OPEN)


def routed(number: int, *groups: str, **options: object) -> Vif:
    routes = (f"10.0.0.{number}/32", f"2001:db8::{number:x}/128")
    return port(number, *groups, network=ROUTED, **{"routes": routes, "mtu": 1500, **options})


def plug(rig: Rig, name: str, vif: Vif) -> Workload:
    """Plug a port and route as its binding says."""
    workload = rig.plug(name, vif, *vif.routes)
    workload.run("ip", "route", "add", NEXT_HOPS[4], "dev", "eth0")
    workload.run("ip", "route", "add", "default", "via", NEXT_HOPS[4])
    workload.run("ip", "-6", "route", "add", "default", "via", NEXT_HOPS[6], "dev", "eth0")
    return workload


def two(rig: Rig, **second: object) -> tuple[Workload, Workload]:
    """Start an agent and two workloads in an open group; the host has an address, and blocks as a speaker has them."""
    rig.host.run(["ip", "addr", "add", f"{HOST}/32", "dev", "lo"])
    for block in ("10.0.0.0/24", "2001:db8::/64"):
        rig.host.run(["ip", "route", "add", "blackhole", block])
    a, b = routed(1, EVERYBODY.group_id), routed(2, EVERYBODY.group_id, **second)
    rig.want(Space(1500, ipv6=True), EVERYBODY, a, b)
    rig.start()
    return plug(rig, "a", a), plug(rig, "b", b)


def test_ports_reach_each_other_and_the_host_by_a_next_hop_that_is_the_same_everywhere(rig: Rig) -> None:
    a, b = two(rig)
    assert a.pings("10.0.0.2") and a.pings("2001:db8::2") and a.pings(HOST) and a.pings(NEXT_HOPS[4])
    assert rig.host.run(["ping", "-c", "1", "-W", "1", "-I", HOST, "10.0.0.2"], check=False).ok
    assert rig.host.run(["sysctl", "-n", "net.ipv6.conf.default.accept_ra"]).out == "2\n", "else it loses its routes"
    for workload in (a, b):
        told = workload.run("ip", "neigh").out
        assert {line.split()[4] for line in told.splitlines()} == {NEXT_HOP_MAC}, told
        assert len(told.splitlines()) == 1 or NEXT_HOPS[6] in told
    b.serve("tcp", "10.0.0.2", 80)
    assert a.reaches("tcp", "10.0.0.2", 80)
    rig.want(group(1, *ANY))
    assert a.is_kept_from("tcp", "10.0.0.2", 80)
    assert not rig.host.run(["ping", "-c1", "-W1", "10.0.0.2"], check=False).ok
    assert b.pings(HOST), "what a port itself begins is let out, and its answers in"


def test_address_scopes_are_apart_from_host_to_host_too_and_what_went_on_between_them_ends(rig: Rig) -> None:
    a, _ = two(rig)
    elsewhere, floating = "10.9.0.9", "203.0.113.9"
    for address in (elsewhere, floating):
        rig.host.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"])

    def told(source: str) -> bool:
        return rig.host.run(["ping", "-c", "1", "-W", "0.4", "-I", source, "10.0.0.1"], check=False).ok

    assert a.pings(elsewhere) and told(elsewhere)
    begun = flow(a, elsewhere)
    mine = Scope("", ("10.0.0.0/24", "2001:db8::/64"))
    scopes = (mine, Scope("x", ("10.9.0.0/24", "203.0.113.0/24")))
    rig.want(Space(1500, ipv6=True, scopes=scopes, floating=(floating,)))
    assert not told(elsewhere)
    number = len(answered(begun))
    assert not told(HOST) and len(answered(begun)) == number
    assert told(floating) and a.pings(floating) and a.pings("10.0.0.2") and a.pings("2001:db8::2")
    assert "scopes" in rig.host.run(["ip", "netns", "exec", "portico", "nft", "list", "table", "inet", "portico"]).out
    rig.want(Space(1500, ipv6=True))
    wait_until("it goes on", lambda: len(answered(begun)) > number, 20)
    assert told(elsewhere)
    begun.kill()


def test_a_killed_agent_and_its_successor_lose_no_packet_and_mend_what_strangers_did(rig: Rig) -> None:
    a, _ = two(rig)
    before = rig.host.run(["ip", "-n", "portico", "-o", "link"]).out
    pings = flow(a, "10.0.0.2")
    outside = flow(a, HOST)
    rig.pause()
    time.sleep(0.1)
    rig.start()
    assert (lost(pings), lost(outside)) == ([], [])
    assert rig.host.run(["ip", "-n", "portico", "-o", "link"]).out == before
    rig.pause()
    rig.host.run(["ip", "route", "del", "10.0.0.1/32"])
    rig.host.run(["ip", "-n", "portico", "route", "flush", "proto", "80"])
    rig.host.run(
        ["ip", "route", "add", "192.0.2.99/32", "via", NEXT_HOPS[4], "dev", "prportico", "onlink", "proto", "80"]
    )
    rig.start()
    assert a.pings("10.0.0.2") and a.pings(HOST)
    assert "192.0.2.99" not in rig.host.run(["ip", "route"]).out
    rig.host.run(["ip", "link", "del", "prportico"])
    wait_until("the host is reached again", lambda: a.pings(HOST), 20)


def test_an_established_connection_ends_with_the_rule_that_let_it_in(rig: Rig) -> None:
    a, b = two(rig)
    b.serve("tcp", "10.0.0.2", 80)
    talk = a.talk("10.0.0.2", 80)
    rig.want(group(1, *ANY))
    time.sleep(0.3)
    mark = len(talk.output)
    time.sleep(0.3)
    assert "answered" not in talk.output[mark:]


def test_a_sender_is_told_when_a_packet_is_too_large_for_the_receivers_link(rig: Rig) -> None:
    a, _ = two(rig, mtu=1400)
    for address in ("10.0.0.2", "2001:db8::2"):
        a.run("ping", "-c", "1", "-M", "do", "-s", "1420", "-W", "0.3", address, check=False)
        assert "mtu 1400" in a.run("ip", "route", "get", address).out


def test_an_address_pair_leads_to_one_port_and_on_to_the_other_when_that_goes_down(rig: Rig) -> None:
    rig.want(Space(1500), EVERYBODY)
    vifs = [routed(n, EVERYBODY.group_id, shared_routes=("10.0.0.9/32",), guard=None) for n in (1, 2)]
    asks = routed(3, EVERYBODY.group_id)
    rig.want(*vifs, asks)
    rig.start()
    workloads = [plug(rig, name, vif) for name, vif in zip("ab", vifs, strict=True)]
    client = plug(rig, "c", asks)
    for workload in workloads:
        workload.run("ip", "addr", "add", "10.0.0.9/32", "dev", "lo")
        workload.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0")
    assert client.pings("10.0.0.9")
    workloads[0].run("ip", "addr", "del", "10.0.0.9/32", "dev", "lo")
    assert client.misses("10.0.0.9", 1)
    rig.want(routed(1, EVERYBODY.group_id, shared_routes=("10.0.0.9/32",), guard=None, admin_up=False))
    assert client.pings("10.0.0.9")


def test_nothing_is_left_when_the_last_port_goes(rig: Rig) -> None:
    _, b = two(rig)
    rig.want(gone=[Space(1500), EVERYBODY, routed(1), b.vif])

    def left() -> list[str]:
        """Return the routes to ports, and all links but lo."""
        routes = rig.host.run(["ip", "route", "show", "proto", "80"]).out.splitlines()
        links = [
            line for at in ([], ["-n", "portico"]) for line in rig.host.run(["ip", *at, "-o", "link"]).out.splitlines()
        ]
        return [*routes, *(line for line in links if ": lo:" not in line)]

    wait_until("nothing is left", lambda: not left(), 20, lambda: str(left()))


def test_another_link_of_that_name_is_left_alone_and_named(rig: Rig) -> None:
    rig.host.run(["ip", "link", "add", "prportico", "type", "bridge"])
    a = routed(1, EVERYBODY.group_id)
    rig.want(Space(1500), EVERYBODY, a)
    rig.start()
    assert "prportico that is not ours" in rig.statuses()["space/routed"].reason
    assert "prportico" in rig.statuses()[f"vif/{a.port_id}"].reason
    assert rig.host.run(["ip", "-d", "link", "show", "prportico"]).out.count("bridge") >= 1
