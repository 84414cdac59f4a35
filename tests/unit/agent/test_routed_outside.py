# SPDX-License-Identifier: Apache-2.0
"""Floating addresses of routed ports and the way out: what is looked at again, translated, and forgotten."""

from __future__ import annotations

from ipaddress import ip_address

from portico.agent.delta import Wanted
from portico.agent.fragment import HOOKS, TRANSLATION, Fragment, fragments, untranslated
from portico.agent.ruleset import Ruleset, render
from portico.agent.translated import Ends, Translated
from portico.hoststate import ROUTED, Forward, Group, HostObject, Publish, Scope, Space, Standing, Vif, key_of

F, X = "203.0.113.9", "10.1.0.5"
WAY_OUT = Space(1500, way_out=True, masquerade=("10.1.0.0/24",), known=("10.1.0.0/24",))


def vif(*floating: Standing, forwards: tuple[Forward, ...] = ()) -> Vif:
    routes = (f"{X}/32", *(f"{item.address}/32" for item in floating), *(f"{item.address}/32" for item in forwards))
    return Vif("p1", ROUTED, "00:00:5e:00:53:01", 1500, "pv", floating=floating, forwards=forwards, routes=routes)


def piece(item: Vif) -> Fragment:
    wanted = Wanted()
    wanted.change([Space(1500), item], ())
    found, faults = fragments(wanted, {key_of(item)})
    assert faults == {}
    return found[key_of(item)]


def test_a_subnet_elsewhere_has_no_port_looked_at_again() -> None:
    wanted = Wanted()
    published = Publish("f", ROUTED, "tcp", ("0.0.0.0",), (80, 80), ())
    everything: list[HostObject] = [WAY_OUT, vif(), Group("g", ()), published]
    wanted.change(everything, ())
    other = Space(1500, way_out=True, masquerade=WAY_OUT.masquerade, known=("10.1.0.0/24", "10.2.0.0/24"))
    assert wanted.change([other], ()) == {key_of(other), key_of(published)}
    scoped = Space(1500, scopes=(Scope("", ("10.1.0.0/24",)), Scope("a", ("10.2.0.0/24",))))
    assert wanted.change([scoped], ()) == {key_of(other), key_of(published)}
    assert wanted.change([Space(1400)], ()) >= {key_of(item) for item in everything}
    assert wanted.change([], [key_of(other)]) >= {"vif/p1", "group/g"}


def test_chains_that_translate_are_there_while_a_port_needs_them() -> None:
    rules = Ruleset()
    plain, led = piece(vif()), piece(vif(Standing(F, X)))
    rules.change({"vif/p1": plain, "vif/p2": plain})
    told = render(rules.change({"vif/p1": led}))
    assert all(f"{{ {HOOKS[name]} }}" in told for name in TRANSLATION)
    assert f"add element inet portico floating {{ {F} : {X} }}" in told
    assert f"add element inet portico fixed {{ {X} : {F} }}" in told
    gone = render(rules.change({"vif/p1": plain}))
    assert all(f"delete chain inet portico {name.partition('/')[2]}\n" in gone for name in TRANSLATION)


def test_scopes_have_chains_while_there_are_several() -> None:
    wanted, rules = Wanted(), Ruleset()
    scopes = (Scope("", ("10.1.0.0/24", "2001:db8:1::/64")), Scope("a", ("10.2.0.0/24", "10.3.0.0/24")))

    def told(space: Space) -> str:
        wanted.change([space], ())
        return render(rules.change(fragments(wanted, {key_of(space)})[0]))

    assert "scope" not in told(Space(1500))
    text = told(Space(1500, scopes=scopes, floating=(F,)))
    base = [
        line.removeprefix("add rule inet portico scopes ") for line in text.splitlines() if "portico scopes " in line
    ]
    assert base == [
        "add chain inet portico scopes { type filter hook forward priority filter; policy accept; }",
        "meta mark & 0xffff != 0 accept",
        "ct status dnat accept",
        f"ip daddr {{ {F}/32 }} accept",
        f"ip saddr {{ {F}/32 }} accept",
        "ip daddr != { 10.1.0.0/24, 10.2.0.0/24, 10.3.0.0/24 } accept",
        "ip6 daddr != { 2001:db8:1::/64 } accept",
        "ip saddr vmap { 10.1.0.0/24 : goto scope-none, 10.2.0.0/24 : goto scope-a, 10.3.0.0/24 : goto scope-a }",
        "ip6 saddr vmap { 2001:db8:1::/64 : goto scope-none }",
    ]
    own = [
        line.removeprefix("add rule inet portico ") for line in text.splitlines() if "rule inet portico scope-" in line
    ]
    assert own == [
        "scope-a ip daddr { 10.2.0.0/24, 10.3.0.0/24 } accept",
        "scope-a drop",
        "scope-none ip daddr { 10.1.0.0/24 } accept",
        "scope-none ip6 daddr { 2001:db8:1::/64 } accept",
        "scope-none drop",
    ]
    gone = told(Space(1500))
    assert [line.split()[-1] for line in gone.splitlines() if line.startswith("delete chain")] == [
        "scope-a",
        "scope-none",
        "scopes",
    ]


def test_an_address_that_stands_for_another_one_now_is_forgotten_and_no_other() -> None:
    forward, more = (Forward("203.0.113.8", "tcp", (port, port), X, (port, port)) for port in (80, 81))
    before = piece(vif(Standing(F, X), forwards=(forward,)))
    assert {*untranslated(before, piece(vif(Standing(F, X), forwards=(forward, more))))} == set(), "one more"
    assert {*untranslated(before, piece(vif(Standing(F, X))))} == {"203.0.113.8"}
    assert {*untranslated(before, piece(vif(Standing(F, X, known=False), forwards=(forward,))))} == {F}
    assert {*untranslated(before, Fragment())} == {F, "203.0.113.8"}
    assert {*untranslated(piece(vif()), Fragment())} == set()


def test_a_new_agent_knows_connections_that_are_translated_as_nobody_would_now() -> None:
    one, some = (
        Forward("203.0.113.8", "tcp", (8080, 8080), X, (80, 80)),
        Forward("203.0.113.8", "udp", (5, 7), X, (5, 7)),
    )
    now = Translated([piece(vif(Standing(F, X), forwards=(one, some))), piece(vif())])
    peer, other = "198.51.100.2", "10.1.0.6"
    right = {
        (6, peer, F, 80, X, 80, peer),
        (1, peer, F, 0, X, 0, peer),
        (6, peer, "203.0.113.8", 8080, X, 80, peer),
        (17, peer, "203.0.113.8", 6, X, 6, peer),
        (6, X, peer, 80, peer, 80, F),
        (6, X, F, 80, X, 80, F),
        (6, peer, X, 80, X, 80, peer),
        (6, X, peer, 80, peer, 80, X),
    }
    wrong = {
        (6, peer, F, 80, other, 80, peer),
        (6, peer, F, 80, X, 81, peer),
        (6, peer, "203.0.113.8", 8081, X, 80, peer),
        (6, peer, "203.0.113.8", 8080, X, 8080, peer),
        (17, peer, "203.0.113.8", 8, X, 8, peer),
        (6, peer, "203.0.113.7", 80, X, 80, peer),
        (6, other, peer, 80, peer, 80, F),
        (6, X, peer, 80, peer, 80, "203.0.113.7"),
    }

    def is_right(protocol: int, source: str, asked: str, port: int, answers: str, at: int, to: str) -> bool:
        ends = [ip_address(text).packed for text in (source, asked, answers, to)]
        return now.is_right(protocol, Ends(ends[0], ends[1], port), Ends(ends[2], ends[3], at))

    assert {one for one in right | wrong if is_right(*one)} == right
