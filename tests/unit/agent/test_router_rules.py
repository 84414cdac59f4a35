# SPDX-License-Identifier: Apache-2.0
"""What routers translate, and whose connections a change leaves behind."""

from __future__ import annotations

import msgspec
import pytest

from portico.agent import announce, dnsmasq, router_rules
from portico.agent.gateways import numbers
from portico.agent.router_rules import Translation, translation
from portico.hoststate import Router
from portico.hoststate.l3 import Floating, Forward, Leg, Prefix

NAMES = {"in": "plin", "out": "plout"}
INSIDE = Leg("in", "a", "02:00:00:00:00:01", 1450, ("10.0.0.1/24", "2001:db8::1/64"))
OUTSIDE = Leg("out", "e", "02:00:00:00:00:02", 1450, ("203.0.113.5/24",), outside=True, snat="203.0.113.5")
FORWARD = Forward("203.0.113.10", "tcp", (8000, 8002), "10.0.0.7", (80, 82))


def router(*legs: Leg, floating: tuple[Floating, ...] = (), forwards: tuple[Forward, ...] = ()) -> Router:
    return Router("r", legs or (INSIDE, OUTSIDE), (), floating, forwards)


def test_a_router_without_a_way_out_has_no_rules_and_tracks_nothing() -> None:
    assert translation(router(INSIDE), NAMES) == Translation()
    plain = msgspec.structs.replace(OUTSIDE, snat="")
    assert translation(router(INSIDE, plain), NAMES) == Translation()
    assert "chain" not in router_rules.text(Translation())
    announcing = msgspec.structs.replace(INSIDE, prefixes=(Prefix("2001:db8::/64", "slaac"),))
    assert "547" in router_rules.text(translation(router(announcing), NAMES))


def test_ranges_lead_port_by_port_and_equal_ones_as_they_are() -> None:
    found = translation(router(forwards=(FORWARD,)), NAMES)
    assert [(port, to) for _, _, port, _, to in found.ports] == [(8000, 80), (8001, 81), (8002, 82)]
    same = msgspec.structs.replace(FORWARD, internal=(8000, 8002))
    found = translation(router(forwards=(same,)), NAMES)
    assert (found.ports, found.ranges) == ((), (("203.0.113.10", 6, 8000, 8002, "10.0.0.7"),))
    one = msgspec.structs.replace(FORWARD, internal=(80, 80))
    assert {to for *_, to in translation(router(forwards=(one,)), NAMES).ports} == {80}


@pytest.mark.parametrize(
    ("forward", "word"),
    [
        (msgspec.structs.replace(FORWARD, protocol="icmp"), "icmp"),
        (msgspec.structs.replace(FORWARD, fixed="::1"), "::1"),
    ],
)
def test_what_cannot_be_translated_is_named(forward: Forward, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        translation(router(forwards=(forward,)), NAMES)


def test_only_connections_of_what_has_gone_are_forgotten() -> None:
    nine = translation(router(floating=(Floating("203.0.113.9", "out", "10.0.0.9"),)), NAMES)
    moved = translation(router(floating=(Floating("203.0.113.9", "out", "10.0.0.8"),)), NAMES)
    none = translation(router(), NAMES)
    assert none.affected(nine) == frozenset()
    assert nine.affected(moved) == frozenset({"203.0.113.9", "10.0.0.9"})
    assert translation(router(forwards=(FORWARD,)), NAMES).affected(nine) == frozenset({"203.0.113.10"})
    assert nine.affected(translation(router(INSIDE), NAMES)) is None


def test_an_address_is_announced_with_a_right_checksum() -> None:
    request = announce.frame("02:00:00:00:00:01", "192.0.2.1")
    assert (request[:6], request[12:14], request[28:32], request[38:42]) == (
        b"\xff" * 6,
        b"\x08\x06",
        *[b"\xc0\0\2\1"] * 2,
    )
    advert = announce.frame("02:00:00:00:00:01", "2001:db8::1")
    packet = advert[14:]
    pseudo = packet[8:40] + len(packet[40:]).to_bytes(4, "big") + b"\0\0\0\x3a"
    words = pseudo + packet[40:]
    total = sum(int.from_bytes(words[at : at + 2], "big") for at in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert (total, packet[7], packet[40]) == (0xFFFF, 255, 136)


def test_announcements_are_made_of_the_prefixes_of_each_leg() -> None:
    prefixes = Prefix("2001:db8::/64", "slaac"), Prefix("2001:db8:1::/64", "dhcpv6-stateful")
    text = dnsmasq.announcement(
        router(msgspec.structs.replace(INSIDE, prefixes=prefixes)), run_dir="/run/x", user="nobody"
    )
    assert dnsmasq.router_of(text) == "r"
    assert "interface=plin" in text and "ra-param=plin,mtu:1450,60,1800" in text
    assert "2001:db8::,ra-only,64" in text and "2001:db8:1::,static,64" in text and "enable-ra" in text
    wrong = msgspec.structs.replace(INSIDE, prefixes=(Prefix("nonsense", "slaac"),))
    with pytest.raises(ValueError, match="nonsense"):
        dnsmasq.announcement(router(wrong), run_dir="/run/x", user="nobody")


def test_what_is_of_no_connection_does_not_leave_with_the_address_inside() -> None:
    floating = (Floating("203.0.113.9", "out", "10.0.0.9"),)
    plain = msgspec.structs.replace(OUTSIDE, snat="")
    strays = [
        router_rules.text(translation(router(INSIDE, leg, floating=items), NAMES)).partition("chain strays")[2]
        for leg in (OUTSIDE, plain)
        for items in (floating, ())
    ]
    hidden, own = '{ "plout" } meta mark != 1 ct state invalid drop', "saddr { 10.0.0.9 } ct state invalid drop"
    assert [(hidden in text, own in text) for text in strays] == [
        (True, True), (True, False), (False, True), (False, False)
    ]  # fmt: skip


def test_address_scopes_are_not_translated_within_and_not_joined() -> None:
    out = msgspec.structs.replace(OUTSIDE, known=("10.0.0.0/24",), apart=("2001:db8::/64",))
    other = Leg("other", "b", "02:00:00:00:00:03", 1450, ("10.0.1.1/24",), apart=("10.0.0.0/24",))
    names = {**NAMES, "other": "plother"}
    text = router_rules.text(translation(router(INSIDE, other, out), names))
    kept = '\toifname "plout" ip saddr { 10.0.0.0/24 } return\n'
    assert text.index(kept) < text.index('\toifname "plout" meta mark')
    scopes = text[text.index("chain scopes") :]
    assert scopes.index("ct status snat,dnat accept") < scopes.index("drop")
    assert 'oifname "plother" ip saddr { 10.0.0.0/24 } drop' in scopes
    assert 'oifname "plout" ip6 saddr { 2001:db8::/64 } drop' in scopes
    assert 'iifname "plout" ip6 daddr { 2001:db8::/64 } drop' in scopes
    assert 'iifname "plother"' not in scopes, "the leg that the other one is on tells of that"
    alone = router_rules.text(translation(router(INSIDE, other), names))
    assert "chain scopes" in alone and "type nat" not in alone
    before, after = (translation(router(INSIDE, leg), names) for leg in (OUTSIDE, out))
    assert before.affected(after) is None, "connections that were translated are made anew"


def test_ipv6_is_translated_and_tracked_only_where_a_gateway_has_an_address_for_it() -> None:
    plain = router_rules.text(translation(router(), NAMES))
    assert "meta nfproto ipv6 notrack accept" in plain and "ip6" not in plain
    behind = msgspec.structs.replace(OUTSIDE, snat6="fd00:64::5", known=("10.9.0.0/24", "2001:db8:9::/64"))
    led = Forward("fd00:64::10", "sctp", (8000, 8000), "2001:db8::7", (80, 80))
    found = translation(router(INSIDE, behind, forwards=(FORWARD, led)), NAMES)
    text = router_rules.text(found)
    assert found.inside == ("10.0.0.0/24", "2001:db8::/64") and "nfproto ipv6 notrack" not in text
    assert "ip6 daddr @inside6 notrack" in text
    assert "fd00:64::10 . 132 . 8000 : 2001:db8::7 . 80" in text.partition("map ports6")[2]
    kept = '\toifname "plout" ip6 saddr { 2001:db8:9::/64 } return\n'
    assert text.index(kept) < text.index('\toifname "plout" meta mark != 1 snat ip6 to fd00:64::5\n')
    assert 'nfproto ipv6 oifname { "plout" } meta mark != 1 ct state invalid drop' in text
    guarded = msgspec.structs.replace(behind, guarded=("2001:db8::/64",))
    guards = router_rules.text(translation(router(INSIDE, guarded), NAMES)).partition("chain guards")[2]
    assert guards.index("ct status snat,dnat accept") < guards.index("drop"), "answers come in"
    before = translation(router(), NAMES)
    assert before.affected(found) is None and found.affected(before) is None
    ends = translation(router(forwards=(led,)), NAMES)
    assert ends.outside6 == (("plout", ""),)
    assert ends.affected(before) == frozenset({led.address}), "of others nothing has changed"
    alone = msgspec.structs.replace(behind, snat="", addresses=("fd00:64::5/64",), known=())
    assert translation(router(INSIDE, alone), NAMES).affected(Translation()) is None


def test_gateways_have_numbers_that_stay_and_senders_that_of_their_floating_address() -> None:
    one = msgspec.structs.replace(OUTSIDE, beyond="203.0.113.254")
    two = Leg(
        "far", "f", "02:00:00:00:00:03", 1450, ("198.51.100.5/24",), True, "198.51.100.5", beyond="198.51.100.254"
    )
    floating = Floating("198.51.100.9", "far", "10.0.0.7"), Floating("203.0.113.9", "out", "10.0.0.8")
    names = NAMES | {"far": "plfar"}
    found = translation(router(INSIDE, one, two, floating=floating), names)
    marks = dict(found.marks)
    assert found.by == (("10.0.0.7", marks["plfar"]), ("10.0.0.8", marks["plout"]))
    assert numbers(["far"])["far"] == numbers(["far", "out", "x"])["far"] == marks["plfar"]
    assert not {0, router_rules.FROM_OUTSIDE} & {*marks.values()} and len({*marks.values()}) == 2
    # a gateway more leaves connections alone
    fewer = translation(router(INSIDE, one, floating=floating[1:]), names)
    assert fewer.affected(found) == frozenset() and found.affected(fewer) is None
    assert "ct mark" not in router_rules.text(translation(router(), NAMES))
