# SPDX-License-Identifier: Apache-2.0
"""The rules as text and as changes, without a kernel (`tests/lab/agent/test_rules_load.py` feeds them to nft)."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.agent import rules
from portico.agent.addresses import link_local
from portico.agent.delta import Wanted
from portico.agent.fragment import ESTABLISHED, INET, SHORT_WAY, Element, Fragment, fragment
from portico.agent.policies import Pace, Policy, policy_lines
from portico.agent.ruleset import Change, Ruleset, render, skeleton
from portico.hoststate import (
    ROUTED,
    Bridge,
    Group,
    Guard,
    HostObject,
    Limit,
    Log,
    Member,
    Qos,
    Rule,
    Source,
    Space,
    Vif,
    key_of,
)

NETS = ("n1", "n2")
CIDRS = ("10.0.0.1/32", "10.0.0.0/24", "10.0.0.0/25", "0.0.0.0/0", "2001:db8::1/128", "2001:db8::/64", "2001:db8::/32")
GROUPS = ("g1", "g2", "g3")
LOGS = (Log("l1", "red", "ALL"), Log("l2", "red", "ACCEPT", "g1"), Log("l3", "blue", "DROP"))


def test_a_rule_becomes_the_statement_that_says_it() -> None:
    said = {
        Rule("egress", "IPv4"): ["ether type ip goto receive"],
        Rule("ingress", "IPv6", 17, 53, 53): ["ether type ip6 meta l4proto 17 th dport 53 accept"],
        Rule("ingress", "IPv4", 6, 80, None): ["ether type ip meta l4proto 6 th dport 80-65535 accept"],
        Rule("ingress", "IPv4", 1, 8, 0): ["ether type ip meta l4proto 1 icmp type 8 icmp code 0 accept"],
        Rule("ingress", "IPv6", 60): ["ether type ip6 exthdr dst exists accept"],
        Rule("egress", "IPv4", None, None, None, "10.0.0.0/8"): ["ether type ip ip daddr 10.0.0.0/8 goto receive"],
        Rule("ingress", "IPv4", remote_group_id="g"): [
            f"ether type ip meta mark & 0xffff . ip saddr @{name} accept" for name in ("m4-g", "n4-g")
        ],
    }
    assert {rule: rules.lines(rule) for rule in said} == said
    words = {"ether type ip6": "meta nfproto ipv6", "ether type ip": "meta nfproto ipv4"}
    for word, other in words.items():
        said = {rule: [line.replace(word, other) for line in lines] for rule, lines in said.items()}
    assert {rule: rules.lines(rule, routed=True) for rule in said} == said


def test_a_rule_with_a_remote_that_is_no_cidr_is_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        rules.lines(Rule("ingress", "IPv4", remote_cidr="nonsense"))


def test_link_local_addresses_are_made_as_rfc_4291_says() -> None:
    assert link_local("34:56:78:9a:bc:de") == ipaddress.ip_address("fe80::3656:78ff:fe9a:bcde")


def sorted_logs(logs: set[Log]) -> tuple[Log, ...]:
    return tuple(sorted(logs, key=lambda log: log.log_id))


objects = st.one_of(
    st.builds(Bridge, st.sampled_from(NETS), st.just(1500)),
    st.builds(
        Vif,
        st.sampled_from(["p1", "p2", "p3"]),
        st.sampled_from((*NETS, ROUTED)),
        st.just("00:00:5e:00:53:01"),
        st.just(1500),
        st.just("pv"),
        admin_up=st.booleans(),
        guard=st.none()
        | st.builds(
            Guard,
            st.lists(st.builds(Source, st.just("00:00:5e:00:53:01"), st.sampled_from(CIDRS)), max_size=4).map(tuple),
            st.lists(st.sampled_from(GROUPS), max_size=3).map(tuple),
            st.sets(st.sampled_from(LOGS), max_size=2).map(sorted_logs),
        ),
    ),
    st.builds(
        Group,
        st.sampled_from(GROUPS),
        st.lists(
            st.builds(
                Rule,
                st.sampled_from(["ingress", "egress"]),
                st.sampled_from(["IPv4", "IPv6"]),
                st.sampled_from([None, 1, 6, 58, 132]),
                remote_group_id=st.none() | st.sampled_from(GROUPS),
            ),
            max_size=3,
        ).map(tuple),
        st.booleans(),
    ),
    st.builds(Member, st.sampled_from(GROUPS), st.sampled_from((*NETS, ROUTED)), st.sampled_from(CIDRS)),
    st.just(Space(1500)),
)


class Kernel:
    """What nft would have after the changes; refuses what nft refuses."""

    def __init__(self) -> None:
        self.sets: set[str] = set()
        self.chains = {f"{table}{ESTABLISHED}": rows for table, rows in SHORT_WAY.items()}
        self.elements: dict[Element, str] = {}

    def apply(self, change: Change) -> None:
        assert not change.sets & self.sets
        self.sets |= change.sets
        self.chains |= change.chains
        assert change.gone_elements <= self.elements.keys()
        for element in change.gone_elements:
            del self.elements[element]
        assert not change.elements.keys() & self.elements.keys()
        self.elements |= change.elements
        assert change.gone_chains <= self.chains.keys()
        for name in change.gone_chains:
            del self.chains[name]
        assert change.gone_sets <= self.sets
        self.sets -= change.gone_sets
        self.elements = {e: v for e, v in self.elements.items() if e.container not in change.gone_sets}
        for name, lines in self.chains.items():
            table = INET if name.startswith(INET) else ""
            for line in lines:
                target = line.rpartition("jump ")[2]
                assert "jump " not in line or (table + target) in {"welcome", *self.chains}
                assert "@" not in line or table + line.partition("@")[2].split()[0] in self.sets


@given(st.lists(st.lists(st.tuples(st.booleans(), objects), max_size=6), max_size=6))
def test_changes_add_up_to_what_is_made_from_nothing(batches: list[list[tuple[bool, HostObject]]]) -> None:
    wanted, changed, kernel = Wanted(), Ruleset(Pace()), Kernel()
    for batch in batches:
        put = [item for add, item in batch if add]
        gone = [key_of(item) for add, item in batch if not add]
        kept = [key for key in gone if key not in {key_of(item) for item in put}]
        dirty = wanted.change(put, kept)
        pieces = {key: fragment(wanted.objects[key], wanted) for key in dirty if key in wanted.objects}
        present: dict[str, Fragment] = {key: piece for key, piece in pieces.items() if piece is not None}
        absent = [key for key in dirty if key not in present and key in changed.fragments]
        change = changed.change(present, absent)
        kernel.apply(change)
        assert render(change)
    whole = Ruleset(Pace())
    made = {key: fragment(item, wanted) for key, item in wanted.objects.items()}
    whole.change({key: piece for key, piece in made.items() if piece is not None})
    everything = whole.whole()
    assert (kernel.sets, kernel.chains, kernel.elements) == (everything.sets, everything.chains, everything.elements)


def ranges_of(cidrs: Iterable[str]) -> tuple[Ruleset, dict[str, Fragment]]:
    """Return rules in which a group has the given ranges on one network, and their fragments."""
    wanted, made = Wanted(), Ruleset()
    wanted.change([Bridge("n1", 1500), *(Member("g1", "n1", cidr) for cidr in cidrs)], ())
    pieces = {key: piece for key, item in wanted.objects.items() if (piece := fragment(item, wanted))}
    made.change(pieces)
    return made, pieces


RANGES = st.tuples(st.integers(0, 255), st.integers(22, 31)).map(
    lambda pair: IPv4Network((0xC0000200 + pair[0], pair[1]), strict=False)
)


@given(st.sets(RANGES, max_size=12), st.data())
def test_a_set_has_the_ranges_that_lie_in_no_other(nets: set[IPv4Network], data: st.DataObject) -> None:
    made, pieces = ranges_of(map(str, nets))
    gone = data.draw(st.sets(st.sampled_from(sorted(nets)))) if nets else set()
    made.change({}, [key for key in pieces if key.rpartition("n1/")[2] in set(map(str, gone))])
    left = nets - gone
    widest = {net for net in left if not any(net != other and net.subnet_of(other) for other in left)}
    shown = {item.key.rpartition(" ")[2] for item in made.whole().elements if item.container.startswith("n4-")}
    assert shown == set(map(str, widest))


def test_a_group_may_have_thousands_of_ranges() -> None:
    start = time.monotonic()
    made, pieces = ranges_of(str(IPv4Network((0x0A000000 + 16 * number, 29))) for number in range(10_000))
    made.change({}, list(pieces)[-1:])
    assert len([item for item in made.whole().elements if item.container.startswith("n4-")]) == 9_999
    assert time.monotonic() - start < 30, "it took a minute for four thousand when each was compared with each"


def test_established_packets_take_the_short_way_only_while_no_port_has_just_stateless_groups() -> None:
    def port(*groups: str) -> Vif:
        return Vif("p1", "n1", "00:00:5e:00:53:01", 1500, "pv", guard=Guard((), groups))

    wanted, kept = Wanted(), Ruleset()
    wanted.change([Bridge("n1", 1500)], [])
    steps: list[tuple[list[HostObject], tuple[str, ...]]] = [
        ([Group("g1", (), False), Group("g2", (), True), port("g1", "g2")], SHORT_WAY[""]),
        ([port("g1")], ()),
        ([Group("g1", (), True)], SHORT_WAY[""]),
        ([Group("g1", (), False)], ()),
        ([port("g2")], SHORT_WAY[""]),
    ]
    for put, expected in steps:
        wanted.change(put, [])
        pieces = {key_of(item): fragment(item, wanted) for item in put}
        kept.change({key: piece for key, piece in pieces.items() if piece is not None})
        assert kept.chain(ESTABLISHED) == expected
        assert kept.chain(f"{INET}{ESTABLISHED}") == SHORT_WAY[INET]


@pytest.mark.parametrize(("network", "table"), [("n1", ""), (ROUTED, INET)])
def test_no_packet_takes_the_short_way_past_what_is_counted(network: str, table: str) -> None:
    wanted, kept = Wanted(), Ruleset()
    wanted.change([Bridge("n1", 1500), Space(1500)], ())
    for limit, expected in ((Limit(100), ()), (None, SHORT_WAY[table])):
        vif = Vif("p1", network, "00:00:5e:00:53:01", 1500, "pv", qos=Qos(ingress_packets=limit))
        wanted.change([vif], ())
        piece = fragment(vif, wanted)
        assert piece is not None
        kept.change({key_of(vif): piece})
        assert kept.chain(f"{table}{ESTABLISHED}") == expected
    kept.change({}, [key_of(vif)])
    assert [kept.chain(f"{each}{ESTABLISHED}") for each in SHORT_WAY] == [*SHORT_WAY.values()]


def test_routed_packets_are_judged_by_what_tracking_says_and_bridged_ones_by_their_mark() -> None:
    rows = {table: policy_lines("ingress", Policy(table, ("g",)), {"g": True}, no_rows) for table in ("", INET)}
    assert rows[INET] == (
        "ct state established,related accept", "ct state invalid drop", "jump ingress-g", "drop"
    )  # fmt: skip
    assert rows[""][:2] == ("meta mark & 0x10000 != 0 accept", "meta mark & 0x20000 != 0 drop")
    stateless = policy_lines("ingress", Policy(INET, ("g",)), {"g": False}, no_rows)
    assert stateless == ("jump ingress-g", "drop")


def no_rows(name: str) -> tuple[str, ...]:
    raise AssertionError(name)


def judged(pace: Pace | None, *logs: Log, group: Group | None = None) -> dict[str, tuple[str, ...]]:
    """Return the chains of a port in two groups that has `logs`, by name without what tells policies apart."""
    wanted, made = Wanted(), Ruleset(pace)
    rule = Rule("ingress", "IPv4", 6, 80, 80)
    vif = Vif("p1", "n1", "00:00:5e:00:53:01", 1500, "pv", guard=Guard((), ("g1", "g2"), logs))
    groups = [group or Group("g1", (rule, Rule("egress", "IPv4"))), Group("g2", (rule,))]
    wanted.change([Bridge("n1", 1500), vif, *groups], ())
    pieces = {key: fragment(item, wanted) for key, item in wanted.objects.items()}
    change = made.change({key: piece for key, piece in pieces.items() if piece is not None})
    names = {element.container: value.removeprefix("goto ") for element, value in change.elements.items()}
    return {
        {names["ingress"]: "ingress", names["egress"]: "egress"}.get(name, name): rows
        for name, rows in change.chains.items()
    }


def test_a_port_that_nobody_logs_has_the_rules_that_it_had() -> None:
    rows = judged(Pace())
    assert rows["ingress"] == (
        *("meta mark & 0x10000 != 0 accept", "meta mark & 0x20000 != 0 drop", "jump welcome"),
        *("jump ingress-g1", "jump ingress-g2", "drop"),
    )
    assert not any("log" in name or "log" in row for name, chain in rows.items() for row in chain)
    without = judged(None, *LOGS)
    assert rows == without, "nothing is asked of a kernel that cannot tell of packets"


def test_what_is_let_in_by_the_groups_of_a_log_and_what_is_refused_is_written_down() -> None:
    rows = judged(Pace(7, 9), *LOGS)
    match = "ether type ip meta l4proto 6 th dport 80"
    assert rows["ingress"] == (
        *("meta mark & 0x10000 != 0 accept", "meta mark & 0x20000 != 0 jump log-drop-ingress-l1"),
        *("meta mark & 0x20000 != 0 jump log-drop-ingress-l3", "meta mark & 0x20000 != 0 drop", "jump welcome"),
        *(f"{match} jump log-accept-ingress-{log_id}" for log_id in ("l1", "l2")),
        *(f"{match} accept", f"{match} jump log-accept-ingress-l1", f"{match} accept"),
        *("jump log-drop-ingress-l1", "jump log-drop-ingress-l3", "drop"),
    )
    assert rows["egress"][5:8] == (
        *(f"ether type ip jump log-accept-egress-{log_id}" for log_id in ("l1", "l2")),
        "ether type ip goto receive",
    )
    told = {name: chain for name, chain in rows.items() if name.startswith("log-")}
    assert told["log-drop-ingress-l3"] == (
        'limit rate 7/second burst 9 packets log prefix "DROP ingress l3" group 9696',
    )
    assert len(told) == 8


def test_a_changed_group_changes_what_its_logged_ports_are_judged_by() -> None:
    rows = judged(Pace(), LOGS[1], group=Group("g1", (Rule("ingress", "IPv6", 58),), stateful=False))
    assert rows["ingress"][3:] == (
        "ether type ip6 meta l4proto 58 jump log-accept-ingress-l2",
        *("ether type ip6 meta l4proto 58 accept", "jump ingress-g2", "drop"),
    )


def test_the_chains_of_a_log_go_with_the_last_port_that_has_it() -> None:
    wanted, made = Wanted(), Ruleset(Pace())
    guards = Guard((), ("g1",), LOGS[:1]), Guard((), ("g1",), LOGS)
    one, two = (
        Vif(f"p{number}", "n1", f"00:00:5e:00:53:0{number}", 1500, "pv", guard=guard)
        for number, guard in enumerate(guards)
    )
    wanted.change([Bridge("n1", 1500), one, two], ())
    pieces = {key: fragment(item, wanted) for key, item in wanted.objects.items()}
    made.change({key: piece for key, piece in pieces.items() if piece is not None})
    gone = made.change({}, [key_of(two)]).gone_chains
    assert {name.rpartition("-")[2] for name in gone if name.startswith("log-")} == {"l2", "l3"}
    gone = made.change({}, [key_of(one)]).gone_chains
    assert sum(name.startswith("log-") for name in gone) == 4


def test_the_short_ways_in_the_skeleton_are_those_that_rule_sets_begin_with() -> None:
    bodies = [text.partition("}")[0] for text in skeleton().split(f"chain {ESTABLISHED} {{")[1:]]
    assert [tuple(line.strip() for line in body.strip().splitlines()) for body in bodies] == [*SHORT_WAY.values()]


@given(st.lists(st.sampled_from(NETS), max_size=12))
def test_zones_are_unique_and_stay_while_a_network_is_wanted(order: list[str]) -> None:
    wanted = Wanted()
    for name in order:
        before = dict(wanted.zones)
        key = f"bridge/{name}"
        wanted.change([] if key in wanted.objects else [Bridge(name, 1500)], [key] if key in wanted.objects else [])
        assert len(set(wanted.zones.values())) == len(wanted.zones)
        assert all(wanted.zones[each] == zone for each, zone in before.items() if each in wanted.zones)
