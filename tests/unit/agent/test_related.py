# SPDX-License-Identifier: Apache-2.0
"""Which rules have helpers read along, and what is said where the kernel lacks one."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from portico.agent import related, router_rules
from portico.agent.delta import Wanted
from portico.agent.drivers.fast_path import ways
from portico.agent.drivers.related import RelatedDriver, only_reads
from portico.agent.fragment import INET, Element, fragments
from portico.agent.ruleset import Ruleset, render
from portico.hoststate import Bridge, Router
from portico.hoststate.l3 import Leg, Reader

INNER = Leg("10ffffff", "1aaaaaaa", "02:00:00:ff:00:01", 1450, ("10.1.0.1/24",))
OUTER = Leg("20ffffff", "2aaaaaaa", "02:00:00:ff:00:02", 1450, ("203.0.113.1/24",), outside=True, snat="203.0.113.1")
ROUTER = Router("1ccccccc", (INNER, OUTER))
FTP, SIP = Reader("tcp", 21, "ftp"), Reader("udp", 5060, "sip")
NAMES = {"10ffffff": "pl1", "20ffffff": "pl2"}


def helped(*helpers: Reader) -> Router:
    return structs.replace(ROUTER, helpers=helpers)


def changed(rules: Ruleset, router: Router) -> str:
    wanted = Wanted()
    wanted.change([Bridge("1aaaaaaa", 1450), Bridge("2aaaaaaa", 1450), router], [])
    pieces, faults = fragments(wanted, [router.key])
    assert faults == {}
    return render(rules.change(pieces))


def test_a_router_gives_helpers_to_what_it_translates_before_it_does() -> None:
    text = router_rules.text(router_rules.translation(helped(FTP, SIP), NAMES))
    chain = text.partition("chain related {")[2]
    assert 'ct helper ftp-tcp { type "ftp" protocol tcp; }' in text
    assert 'ct helper sip-udp { type "sip" protocol udp; }' in text
    assert chain.index('tcp dport 21 ct helper set "ftp-tcp"') < chain.index('udp dport 5060 ct helper set "sip-udp"')
    assert "priority mangle" in chain, "before dstnat"
    untranslated = structs.replace(helped(FTP), legs=(INNER,))
    assert "ct helper" not in router_rules.text(router_rules.translation(untranslated, NAMES)), "it tracks nothing"
    before, after = (router_rules.translation(it, NAMES) for it in (helped(FTP), helped()))
    assert before.affected(after) == frozenset(), "what has begun goes on"


def test_objects_and_chains_for_bridges_are_there_while_a_router_needs_them() -> None:
    rules = Ruleset()
    assert "helper" not in changed(rules, helped())
    text = changed(rules, helped(FTP))
    lines = text.splitlines()
    assert lines[0] == 'add ct helper inet portico ftp-tcp { type "ftp" protocol tcp; }'
    for bridge, leg in (("br1aaaaaaa", INNER), ("br2aaaaaaa", OUTER)):
        assert f'"{bridge}" . {leg.mac} . 6 . 21 : goto related-ftp-tcp' in text
    assert rules.chain(f"{INET}related-ftp-tcp") == ('ct helper set "ftp-tcp"',)
    assert rules.chain(f"{INET}{related.CHAIN}") == related.LOOKED_UP
    text = changed(rules, helped(SIP))
    assert "add ct helper inet portico sip-udp" in text
    gone = ["delete element inet portico helpers", "delete chain inet portico related-ftp-tcp"]
    ends = [text.index(words) for words in (*gone, "delete ct helper inet portico ftp-tcp")]
    assert ends == sorted(ends), "nothing goes before who names it"
    assert "delete chain inet portico related\n" not in text
    text = changed(rules, helped())
    assert "delete chain inet portico related\n" in text
    assert not [item for item in rules.whole().elements if item.container == f"{INET}helpers"]


def test_of_two_for_one_port_the_first_counts() -> None:
    rules = Ruleset()
    changed(rules, helped(FTP, Reader("tcp", 21, "irc")))
    key = Element(f"{INET}helpers", f'"br1aaaaaaa" . {INNER.mac} . 6 . 21')
    assert rules.whole().elements[key] == "goto related-ftp-tcp"


def test_every_packet_passes_by_a_router_that_has_helpers() -> None:
    assert ways(helped()) == {}
    assert ways(helped(FTP)) == {"pl10ffffff": 0, "pl20ffffff": 0}


def test_a_router_whose_helper_is_not_there_is_in_trouble_until_it_is() -> None:
    asked: list[tuple[str, str]] = []
    lacking = {("sip", "udp"): "no sip"}

    def lack(*pair: str) -> str:
        asked.append((pair[0], pair[1]))
        return lacking.get((pair[0], pair[1]), "")

    driver, wanted, router = RelatedDriver(lack), Wanted(), helped(FTP, SIP)
    wanted.change([router], [])
    _, troubles = driver.plan(wanted, [router.key, "router/other"])
    assert {key: trouble.reason for key, trouble in troubles.items()} == {router.key: "no sip"}
    lacking.clear()
    assert driver.plan(wanted, [router.key]) == ({}, {})
    assert driver.plan(wanted, [router.key]) == ({}, {})
    assert asked == [("ftp", "tcp"), ("sip", "udp"), ("sip", "udp")], "what is there is tried once"


def test_the_module_that_translates_is_missed_only_beside_the_one_that_reads(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    assert not only_reads("ftp", modules), "a kernel without modules has both built in"
    modules.write_text("nf_conntrack_ftp 24576 0 - Live 0x0\nnf_conntrack 184320 9 nf_conntrack_ftp, Live 0x0\n")
    assert only_reads("ftp", modules) and not only_reads("tftp", modules)
    modules.write_text("nf_nat_ftp 16384 0 - Live 0x0\nnf_conntrack_ftp 24576 1 nf_nat_ftp, Live 0x0\n")
    assert not only_reads("ftp", modules)
