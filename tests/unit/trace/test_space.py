# SPDX-License-Identifier: Apache-2.0
"""What people are told of packets in the routed space: floating IPs, port forwardings, and the way out."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from portico.testing.router_world import OUTSIDE, PutRouter, RouterWorld, put_in_scopes
from portico.testing.world import HOSTS, Edit, PutGroup, PutNetwork, PutPort, PutRule, PutSubnet, object_id
from portico.trace.packet import TCP
from portico.trace.question import Question, answer

A, B = PutPort(0, 0, groups=(0,)), PutPort(1, 1, groups=(0,))
ROUTER = PutRouter(0, (0, 1), outside=True, floating=(1,))
FLOATING = "192.0.6.201"


def world(*edits: Edit | PutRouter) -> RouterWorld:
    made = RouterWorld()
    for number in (0, 1, OUTSIDE):
        made.apply(PutNetwork(number), PutSubnet(number, 4))
    made.apply(PutGroup(0), PutRule(0, 0, "egress"), PutRule(1, 0, remote_group=0), A, B, *edits)
    return made.routed()


def told(made: RouterWorld, destination: str, port: int = 80) -> tuple[bool, str]:
    """Return whether a packet from port 0 passes, and all that is said of it."""
    found = answer(made.snapshot(), Question(object_id("port", 0), ip_address(destination), TCP, port))
    return found.delivered, "; ".join(f"{hop.what} ({hop.why})" for hop in found.hops)


def test_a_floating_ip_is_its_port_from_the_start_and_groups_know_who_asks() -> None:
    passes, words = told(world(ROUTER), FLOATING)
    assert passes and f"{FLOATING} becomes 192.0.3.12 (floating IP" in words and "group" in words.rpartition(";")[2]
    passes, words = told(world(ROUTER, replace(B, groups=())), FLOATING)
    assert not passes and "no ingress rule of the receiver" in words
    for edit in (replace(ROUTER, admin_up=False), replace(B, host=HOSTS[1]), replace(B, admin_up=False)):
        assert "becomes" not in told(world(ROUTER, edit), FLOATING)[1]


def test_ports_of_a_floating_ip_are_led_each_to_its_own_and_no_others() -> None:
    made = world(replace(ROUTER, floating=(), forwarded=(1,)))
    passes, words = told(made, FLOATING, 8000)
    assert passes and f"port 8000 of {FLOATING} becomes 192.0.3.12:80 (port forwarding" in words
    assert "becomes" not in told(made, FLOATING, 81)[1]
    published = world(replace(ROUTER, floating=(), published=(1,)))
    assert "becomes" not in told(published, FLOATING, 8000)[1], "its host publishes it, at its own addresses"


def test_what_leaves_the_space_has_its_floating_ip_or_an_address_of_its_host() -> None:
    beyond, source = "198.51.100.7", "192.0.2.10"
    assert f"source {source} becomes an address of the host" in told(world(ROUTER), beyond)[1]
    own = world(replace(ROUTER, floating=(0,)))
    assert f"source {source} becomes 192.0.6.200" in told(own, beyond)[1]
    assert "becomes" not in told(own, "192.0.3.77")[1], "on another host, where it has its own address"
    assert "becomes" not in told(world(replace(ROUTER, snat=False)), beyond)[1]
    scoped = world(ROUTER)
    put_in_scopes(scoped, {0: "a", OUTSIDE: "a"})
    assert "becomes" not in told(scoped, beyond)[1], "the address means the same outside"


def test_one_address_scope_reaches_another_by_floating_ips_alone() -> None:
    made = world(ROUTER)
    put_in_scopes(made, {0: "a", 1: "b", OUTSIDE: "a"})
    apart = "address scopes: 192.0.2.10 is of a, {} is of b; what is not translated stays in its own"
    for other in ("192.0.3.12", "192.0.3.77"):
        passes, words = told(made, other)
        assert not passes and apart.format(other) in words
    assert told(made, FLOATING)[0] and told(made, "192.0.6.77")[0], "which is of the same scope"
    put_in_scopes(made, {OUTSIDE: ""})
    assert told(made, FLOATING)[0] and "192.0.6.77 is of none" in told(made, "192.0.6.77")[1]
    made.apply(replace(B, host=HOSTS[1]))
    assert told(made, FLOATING)[0], "another host translates it"
    assert told(made, "198.51.100.7")[0], "addresses outside are of no scope"
