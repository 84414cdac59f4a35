# SPDX-License-Identifier: Apache-2.0
"""Which connections a change of rules cuts."""

from __future__ import annotations

import ipaddress

from portico.agent.delta import Wanted
from portico.agent.fragment import Fragment, fragment
from portico.agent.verdict import Connection, Judge
from portico.hoststate import Bridge, Group, Guard, HostObject, Member, Rule, Source, Vif

ANY = Rule("egress", "IPv4")


def vif(number: int, *groups: str, network: str = "n1") -> Vif:
    guard = Guard((Source("00:00:5e:00:53:01", f"10.0.0.{number}/32"),), groups)
    return Vif(f"{network}p{number}", network, "00:00:5e:00:53:01", 1500, "pv", guard=guard)


def state(*objects: HostObject) -> Wanted:
    wanted = Wanted()
    wanted.change([Bridge("n1", 1500), Bridge("n2", 1500), *objects], ())
    return wanted


def tcp(source: int, destination: int, port: int, zone: int = 1) -> Connection:
    addresses = [ipaddress.ip_address(f"10.0.0.{number}") for number in (source, destination)]
    return Connection(zone, addresses[0], addresses[1], 6, 40000, port)


def test_a_connection_that_no_rule_admits_is_cut_and_others_are_not() -> None:
    served = Group("g", (ANY, Rule("ingress", "IPv4", 6, 80, 80)))
    judge = Judge(state(served, vif(1, "g"), vif(2, "g")), ["group/g"], ())
    assert judge.is_unwanted(tcp(1, 2, 81))
    assert not judge.is_unwanted(tcp(1, 2, 80))
    assert not judge.is_unwanted(tcp(1, 9, 81))  # leaves the host; egress admits it
    assert not judge.is_unwanted(tcp(1, 2, 81, zone=7))


def test_ports_that_the_change_does_not_touch_are_not_judged() -> None:
    judge = Judge(state(Group("g", ()), Group("h", ()), vif(1, "g"), vif(2, "h")), ["group/g"], ())
    assert judge.is_unwanted(tcp(1, 9, 80))
    assert not judge.is_unwanted(tcp(2, 9, 80))


def test_a_member_counts_on_its_own_network_only() -> None:
    same = Group("g", (ANY, Rule("ingress", "IPv4", remote_group_id="g")))
    wanted = state(same, vif(1, "g"), vif(1, "g", network="n2"), Member("g", "n1", "10.0.0.9/32"))
    judge = Judge(wanted, ["member/g/n1/10.0.0.8/32"], ())
    assert not judge.is_unwanted(tcp(9, 1, 80, zone=wanted.zones["n1"]))
    assert judge.is_unwanted(tcp(9, 1, 80, zone=wanted.zones["n2"]))
    assert judge.is_unwanted(tcp(8, 1, 80, zone=wanted.zones["n1"]))


def test_what_a_removed_port_had_is_cut_so_that_no_heir_gets_it() -> None:
    before = fragment(vif(1), state())
    assert isinstance(before, Fragment)
    judge = Judge(state(vif(2)), ["vif/n1p1"], [before])
    assert judge.is_unwanted(tcp(9, 1, 80)) and judge.is_unwanted(tcp(1, 9, 80))
    assert not judge.is_unwanted(tcp(9, 3, 80))


def test_an_address_that_two_ports_share_keeps_what_either_admits() -> None:
    shared = Source("00:00:5e:00:53:01", "10.0.0.50/32")
    ports = [
        Vif(f"p{n}", "n1", "00:00:5e:00:53:01", 1500, "pv", guard=Guard((shared,), (group,)))
        for n, group in ((1, "open"), (2, "closed"))
    ]
    wanted = state(Group("open", (Rule("ingress", "IPv4"),)), Group("closed", ()), *ports)
    assert not Judge(wanted, ["group/closed"], ()).is_unwanted(tcp(9, 50, 80))


def test_without_memory_of_what_was_in_force_everything_is_judged() -> None:
    judge = Judge(state(Group("g", ()), vif(1, "g")), None, ())
    assert judge.is_unwanted(tcp(1, 9, 80))
