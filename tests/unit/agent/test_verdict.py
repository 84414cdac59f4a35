# SPDX-License-Identifier: Apache-2.0
"""Which connections a change of rules cuts."""

from __future__ import annotations

import ipaddress

from portico.agent.delta import Wanted
from portico.agent.fragment import Fragment, fragment
from portico.agent.verdict import Connection, Judge
from portico.hoststate import Bridge, Group, Guard, HostObject, Member, Rule, Source, Vif, key_of

ANY = Rule("egress", "IPv4")
MAC = "00:00:5e:00:53:01"


def vif(number: int, *groups: str, network: str = "n1") -> Vif:
    guard = Guard((Source("00:00:5e:00:53:01", f"10.0.0.{number}/32"),), groups)
    return Vif(f"{network}p{number}", network, "00:00:5e:00:53:01", 1500, "pv", guard=guard)


def state(*objects: HostObject) -> Wanted:
    wanted = Wanted()
    wanted.change([Bridge("n1", 1500), Bridge("n2", 1500), *objects], ())
    return wanted


def tcp(source: int, destination: int, port: int, zone: int = 1) -> Connection:
    return connection(f"10.0.0.{source}", f"10.0.0.{destination}", port, zone)


def connection(source: str, destination: str, port: int, zone: int = 1) -> Connection:
    ends = [ipaddress.ip_address(address).packed for address in (source, destination)]
    return Connection(zone, ends[0], ends[1], 6, 40000, port)


def before(wanted: Wanted, *objects: HostObject) -> dict[str, Fragment]:
    """Return what was in force of `objects`."""
    pieces = {key_of(item): fragment(item, wanted) for item in objects}
    return {key: piece for key, piece in pieces.items() if piece is not None}


def test_a_connection_that_no_rule_admits_is_cut_and_others_are_not() -> None:
    served = Group("g", (ANY, Rule("ingress", "IPv4", 6, 80, 80)))
    wanted = state(served, vif(1, "g"), vif(2, "g"))
    judge = Judge(wanted, ["group/g"], before(wanted, Group("g", (ANY, Rule("ingress", "IPv4")))))
    assert judge.is_unwanted(tcp(1, 2, 81))
    assert not judge.is_unwanted(tcp(1, 2, 80))
    assert not judge.is_unwanted(tcp(1, 9, 81))  # leaves the host; egress admits it
    assert not judge.is_unwanted(tcp(1, 2, 81, zone=7))


def test_ports_that_the_change_does_not_touch_are_not_judged() -> None:
    wanted = state(Group("g", ()), Group("h", ()), vif(1, "g"), vif(2, "h"))
    judge = Judge(wanted, ["group/g"], before(wanted, Group("g", (ANY,))))
    assert judge.is_unwanted(tcp(1, 9, 80))
    assert not judge.is_unwanted(tcp(2, 9, 80))


def test_a_change_that_takes_nothing_away_looks_at_no_zone() -> None:
    more = Group("g", (ANY, Rule("ingress", "IPv4", 6, 80, 80)))
    wanted = state(more, Member("g", "n1", "10.0.0.9/32"), vif(1, "g"), vif(2, "g", network="n2"))
    old = before(wanted, Group("g", (ANY,)))
    assert Judge(wanted, ["group/g", "member/g/n1/10.0.0.9/32"], old).zones == frozenset()
    assert Judge(wanted, ["group/h", "vif/n1p1"], old).zones == frozenset({wanted.zones["n1"]})
    assert Judge(wanted, ["group/g"], before(wanted, Group("g", (ANY,), stateful=False))).zones == frozenset({1, 2})
    assert Judge(wanted, None, {}).zones is None


def test_a_member_counts_on_its_own_network_only() -> None:
    same = Group("g", (ANY, Rule("ingress", "IPv4", remote_group_id="g")))
    wanted = state(same, vif(1, "g"), vif(1, "g", network="n2"), Member("g", "n1", "10.0.0.9/32"))
    judge = Judge(wanted, ["member/g/n1/10.0.0.8/32"], before(wanted, Member("g", "n1", "10.0.0.8/32")))
    assert not judge.is_unwanted(tcp(9, 1, 80, zone=wanted.zones["n1"]))
    assert judge.is_unwanted(tcp(9, 1, 80, zone=wanted.zones["n2"]))
    assert judge.is_unwanted(tcp(8, 1, 80, zone=wanted.zones["n1"]))


def test_what_a_removed_port_had_is_cut_so_that_no_heir_gets_it() -> None:
    judge = Judge(state(vif(2)), ["vif/n1p1"], before(state(), vif(1)))
    assert judge.zones == frozenset({1})
    assert judge.is_unwanted(tcp(9, 1, 80)) and judge.is_unwanted(tcp(1, 9, 80))
    assert not judge.is_unwanted(tcp(9, 3, 80))


def test_a_new_port_inherits_only_what_its_rules_let_in() -> None:
    wanted = state(Group("g", (ANY, Rule("ingress", "IPv4", 6, 80, 80))), vif(1, "g"))
    judge = Judge(wanted, ["vif/n1p1"], {})
    assert judge.is_unwanted(tcp(9, 1, 81)) and not judge.is_unwanted(tcp(9, 1, 80))


def test_who_is_at_the_other_end_counts_where_a_rule_asks_for_it_and_nowhere_else() -> None:
    some = Rule("ingress", "IPv4", 6, 80, 80, remote_cidr="10.0.0.8/32")
    members = Rule("ingress", "IPv4", 6, 80, 80, remote_group_id="m")
    wanted = state(
        Group("g", (ANY, some, members, Rule("ingress", "IPv4", 6, 443, 443))),
        Group("down", (Rule("ingress", "IPv4"),)),
        Member("m", "n1", "10.0.0.7/32"),
        vif(1, "g"),
        Vif("off", "n1", MAC, 1500, "pv", admin_up=False, guard=Guard((Source(MAC, "10.0.0.1/32"),), ("down",))),
    )
    judge = Judge(wanted, None, {})
    for source, port, is_cut in [(7, 80, False), (8, 80, False), (9, 80, True), (8, 80, False), (9, 443, False)]:
        assert judge.is_unwanted(tcp(source, 1, port)) == is_cut, (source, port)
    assert judge.is_unwanted(tcp(8, 1, 81))
    assert not judge.is_unwanted(tcp(1, 9, 81))


def test_link_local_addresses_are_a_ports_own() -> None:
    wanted = state(Group("g", (Rule("ingress", "IPv6", 6, 80, 80),)), vif(1, "g"))
    local = "fe80::200:5eff:fe00:5301"
    judge = Judge(wanted, ["group/g"], before(wanted, Group("g", (Rule("ingress", "IPv6"),))))
    assert judge.is_unwanted(connection("fe80::9", local, 81))
    assert not judge.is_unwanted(connection("fe80::9", local, 80))
    gone = Judge(state(), ["vif/n1p1"], before(state(), vif(1)))
    assert gone.is_unwanted(connection("fe80::9", local, 80))


def test_an_address_that_two_ports_share_keeps_what_either_admits() -> None:
    shared = Source("00:00:5e:00:53:01", "10.0.0.50/32")
    ports = [
        Vif(f"p{n}", "n1", "00:00:5e:00:53:01", 1500, "pv", guard=Guard((shared,), (group,)))
        for n, group in ((1, "open"), (2, "closed"))
    ]
    wanted = state(Group("open", (Rule("ingress", "IPv4"),)), Group("closed", ()), *ports)
    old = before(wanted, Group("closed", (ANY,)))
    assert not Judge(wanted, ["group/closed"], old).is_unwanted(tcp(9, 50, 80))


def test_a_port_with_a_range_has_no_say_about_anothers_own_address() -> None:
    wide = Vif(
        "w", "n1", "00:00:5e:00:53:0a", 1500, "pv", guard=Guard((Source("00:00:5e:00:53:0a", "0.0.0.0/0"),), ("open",))
    )
    wanted = state(Group("open", (ANY, Rule("ingress", "IPv4"))), Group("g", ()), wide, vif(1, "g"))
    judge = Judge(wanted, ["group/g"], before(wanted, Group("g", (ANY, Rule("ingress", "IPv4")))))
    assert judge.is_unwanted(tcp(9, 1, 80))


def test_a_port_with_a_range_that_goes_takes_no_connection_of_others_along() -> None:
    mac = "00:00:5e:00:53:0a"
    wide = Vif("w", "n1", mac, 1500, "pv", guard=Guard((Source(mac, "0.0.0.0/0"),), ("open",)))
    wanted = state(Group("g", (ANY, Rule("ingress", "IPv4"))), vif(1, "g"), vif(2, "g"))
    judge = Judge(wanted, ["vif/w"], before(wanted, wide))
    assert judge.is_unwanted(tcp(1, 9, 80)), "nobody has the second address any more"
    assert not judge.is_unwanted(tcp(1, 2, 80))


def test_a_range_decides_where_nobody_has_the_address_itself() -> None:
    wide = Vif(
        "w", "n1", "00:00:5e:00:53:0a", 1500, "pv", guard=Guard((Source("00:00:5e:00:53:0a", "10.0.0.0/28"),), ("g",))
    )
    wanted = state(Group("g", (Rule("ingress", "IPv4", 6, 80, 80),)), wide)
    judge = Judge(wanted, ["group/g"], before(wanted, Group("g", (Rule("ingress", "IPv4"),))))
    assert judge.is_unwanted(tcp(30, 9, 81)) and not judge.is_unwanted(tcp(30, 9, 80))
    assert not judge.is_unwanted(tcp(30, 20, 81))


def test_without_memory_of_what_was_in_force_everything_is_judged() -> None:
    judge = Judge(state(Group("g", ()), vif(1, "g")), None, {})
    assert judge.is_unwanted(tcp(1, 9, 80))


def test_what_is_no_address_changes_nothing_for_the_connections_of_others() -> None:
    faulty = Group("faulty", (Rule("ingress", "IPv4", remote_cidr="any"), Rule("ingress", "IPv4", 6, 80, 80)))
    bad = Vif("bad", "n1", MAC, 1500, "pv", guard=Guard((Source(MAC, "10.0.0.3/32"), Source(MAC, "10.0.0.4/33")), ()))
    wanted = state(Group("g", (ANY,)), faulty, bad, Member("g", "n1", "x"), vif(1, "g"), vif(2, "faulty"))
    judge = Judge(wanted, None, {})
    assert judge.is_unwanted(tcp(9, 1, 80)) and not judge.is_unwanted(tcp(1, 9, 80))
    assert judge.is_unwanted(tcp(9, 2, 81)) and not judge.is_unwanted(tcp(9, 2, 80))
    assert not judge.is_unwanted(tcp(9, 3, 80))
