# SPDX-License-Identifier: Apache-2.0
"""What routers count for metering labels, as rules, and what becomes of counters when rules change."""

from __future__ import annotations

import msgspec
import pytest

from portico.agent import meter_rules
from portico.agent.meter_rules import Metering, metering
from portico.agent.meters import Meters
from portico.hoststate import Count, Router
from portico.hoststate.l3 import Leg
from portico.hoststate.metering import Meter, MeterRule

NAMES = {"in": "plin", "out": "plout"}
INSIDE = Leg("in", "a", "02:00:00:00:00:01", 1450, ("10.0.0.1/24",))
OUTSIDE = Leg("out", "e", "02:00:00:00:00:02", 1450, ("203.0.113.5/24",), outside=True)
LABEL, OTHER = (f"{number}aaaaaaa-0000-4000-8000-000000000000" for number in (1, 2))
RULES = MeterRule("egress", "10.0.0.0/24"), MeterRule("egress", "10.0.0.7/32", "192.0.2.0/24", excluded=True)


def router(*meters: Meter, legs: tuple[Leg, ...] = (INSIDE, OUTSIDE)) -> Router:
    return Router("r", legs, meters=meters)


def test_what_is_excluded_is_looked_at_first_and_each_packet_counts_once() -> None:
    found = metering(router(Meter(LABEL, RULES)), NAMES)
    assert found == Metering(
        ("plout",),
        (
            (
                LABEL,
                (
                    'oifname { "plout" } ip saddr 10.0.0.7/32 ip daddr 192.0.2.0/24 return',
                    'oifname { "plout" } ip saddr 10.0.0.0/24 counter name @ return',
                ),
            ),
        ),
    )
    both = (MeterRule("ingress", "", "0.0.0.0/0"), MeterRule("ingress", "2001:db8::/32"))
    (_, rules), *_ = metering(router(Meter(LABEL, both)), NAMES).labels
    assert rules == (
        'iifname { "plout" } meta nfproto ipv4 counter name @ return',
        'iifname { "plout" } ip6 saddr 2001:db8::/32 counter name @ return',
    )


def test_nothing_is_counted_without_a_label_or_a_gateway() -> None:
    assert metering(router(), NAMES) == metering(router(Meter(LABEL, RULES), legs=(INSIDE,)), NAMES) == Metering()
    assert "chain" not in meter_rules.text(Metering(), (), "x")
    with pytest.raises(ValueError, match=r"10\.0\.0\.300"):
        metering(router(Meter(LABEL, (MeterRule("egress", "10.0.0.300/32"),))), NAMES)


def test_a_counter_stays_as_long_as_its_label() -> None:
    there = [f"m.{LABEL}.0ld", f"m.{OTHER}.0ld"]
    one = metering(router(Meter(LABEL, RULES)), NAMES)
    lines = meter_rules.text(one, there, "new").splitlines()
    assert f"add counter inet portico_meters m.{LABEL}.0ld" in lines
    assert f"delete counter inet portico_meters m.{OTHER}.0ld" in lines
    assert not any("new" in line or line.startswith("delete table") for line in lines)
    assert "m." + LABEL + ".new" in meter_rules.text(one, (), "new")


def test_what_nft_lists_is_read_back() -> None:
    listed = f"table inet portico_meters {{\n\tcounter m.{LABEL}.0ld {{\n\t\tpackets 3 bytes 252\n\t}}\n}}\n"
    assert meter_rules.counters(listed) == {f"m.{LABEL}.0ld": (3, 252)}
    assert meter_rules.counts("r", meter_rules.counters(listed)) == [Count("r", LABEL, "0ld", 3, 252)]


def test_a_router_that_goes_leaves_what_it_has_counted_and_is_not_asked_any_more() -> None:
    meters, wanted = Meters("portico-not-there"), {"router/r": router(Meter(LABEL, RULES))}
    meters.keep("r", {f"m.{LABEL}.0ld": (3, 252)})
    assert meters.take(wanted, -1) == (Count("r", LABEL, "0ld", 3, 252),)
    assert meters.take(wanted, -1) == ()


@pytest.mark.parametrize("count", [Count("r", LABEL, "x", -1, 0), Count("r", LABEL, "x" * 33, 0, 0)])
def test_a_count_that_is_none_is_no_part_of_a_report(count: Count) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(count), type=Count)
