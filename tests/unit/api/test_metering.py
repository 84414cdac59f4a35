# SPDX-License-Identifier: Apache-2.0
"""Metering labels and their rules, and what hosts tell of their counters."""

from __future__ import annotations

from typing import Any

import pytest

from portico.agent.feed import HEARTBEAT_S

from .asker import Asker, Row

LABELS, RULES, COUNTS = (f"metering/metering-{word}" for word in ("labels", "label-rules", "counts"))
ROUTER, OTHER = (f"{number}ccccccc-0000-4000-8000-000000000000" for number in (1, 2))


def create(api: Asker, collection: str, **body: Any) -> Row:
    answer = attempt(api, collection, **body)
    assert answer.status == 201, answer
    (row,) = answer.body.values()
    assert isinstance(row, dict)
    return row


def attempt(api: Asker, collection: str, **body: Any) -> Any:
    key = "metering_label" if collection == LABELS else "metering_label_rule"
    return api.ask("POST", collection, {key: body})


def listed(api: Asker, collection: str, query: str = "") -> list[Row]:
    (rows,) = api.get(f"{collection}?{query}").values()
    assert isinstance(rows, list)
    return rows


def tell(api: Asker, host: str, *counts: tuple[str, str, str, int, int]) -> None:
    names = ("label_id", "router_id", "counter", "packets", "bytes")
    body = {"revision": 0, "facts": {"version": "1"}, "counts": [dict(zip(names, one, strict=True)) for one in counts]}
    assert api.ask("PUT", f"/portico/v1/hosts/{host}/status", body).status == 204


def shown(api: Asker, label: Row) -> tuple[int, int]:
    row = api.show(LABELS, label["id"])
    return row["portico:packets"], row["portico:bytes"]


def test_a_label_goes_with_its_rules_and_counts(api: Asker) -> None:
    label, other = create(api, LABELS, name="a", description="d"), create(api, LABELS, shared=True)
    assert (label["name"], label["description"], label["shared"], label["project_id"]) == ("a", "d", False, "red")
    rule = create(api, RULES, metering_label_id=label["id"], direction="egress", remote_ip_prefix="10.0.0.5/24")
    assert (rule["remote_ip_prefix"], rule["source_ip_prefix"], rule["excluded"]) == ("10.0.0.5/24", None, False)
    tell(api, "one", (label["id"], ROUTER, "a", 1, 84), (other["id"], ROUTER, "a", 2, 100))
    assert api.try_delete(LABELS, label).status == 204
    assert [row["metering_label_id"] for row in listed(api, COUNTS)] == [other["id"]]
    assert listed(api, RULES) == []
    assert api.ask("GET", f"{LABELS}/{label['id']}").error == (404, "MeteringLabelNotFound")
    assert api.ask("GET", f"{RULES}/{rule['id']}").error == (404, "MeteringLabelRuleNotFound")
    assert api.ask("PUT", f"{LABELS}/{other['id']}", {"metering_label": {"name": "x"}}).status == 405


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "at least one"),
        ({"remote_ip_prefix": "10.0.0.0/33"}, "10.0.0.0/33"),
        ({"source_ip_prefix": "10.0.0.256"}, "source_ip_prefix: 10.0.0.256"),
        ({"remote_ip_prefix": "10.0.0.0/24", "source_ip_prefix": "10.0.0.0/8"}, "in conjunction"),
        ({"source_ip_prefix": "10.0.0.0/24", "destination_ip_prefix": "2001:db8::/32"}, "2001:db8::/32"),
    ],
)
def test_prefixes_that_mean_nothing_are_refused(api: Asker, body: Row, word: str) -> None:
    label = create(api, LABELS)
    answer = attempt(api, RULES, metering_label_id=label["id"], direction="ingress", **body)
    assert answer.error == (400, "Invalid") and word in answer.message


def test_rules_of_one_kind_do_not_overlap_and_need_a_label(api: Asker) -> None:
    label = create(api, LABELS)
    wanted = {"metering_label_id": label["id"], "direction": "ingress", "remote_ip_prefix": "10.0.0.0/24"}
    first = create(api, RULES, **wanted)
    answer = attempt(api, RULES, **{**wanted, "remote_ip_prefix": "10.0.0.128/25"})
    assert answer.error == (409, "MeteringLabelRuleOverlaps") and first["id"] in answer.message
    for other in ({"direction": "egress"}, {"excluded": True}, {"remote_ip_prefix": "fd00::/64"}):
        create(api, RULES, **{**wanted, **other})
    create(api, RULES, metering_label_id=label["id"], direction="ingress", destination_ip_prefix="10.0.0.0/24")
    answer = attempt(api, RULES, **{**wanted, "metering_label_id": ROUTER})
    assert answer.error == (404, "MeteringLabelNotFound") and ROUTER in answer.message


def test_what_hosts_tell_adds_up_once_whatever_becomes_of_their_counters(api: Asker) -> None:
    label = create(api, LABELS)
    name = label["id"]
    assert shown(api, label) == (0, 0)
    tell(api, "one", (name, ROUTER, "a", 3, 252))
    for _ in range(2):
        tell(api, "one", (name, ROUTER, "a", 5, 420))
        assert shown(api, label) == (5, 420)
    # a router that left the host and came back begins anew; what it told last may come again, and late
    tell(api, "one", (name, ROUTER, "a", 6, 504), (name, ROUTER, "b", 1, 84))
    assert shown(api, label) == (7, 588)
    # somebody set the counter back
    tell(api, "one", (name, ROUTER, "b", 0, 0))
    tell(api, "one", (name, ROUTER, "b", 2, 168))
    assert shown(api, label) == (9, 756)
    tell(api, "two", (name, ROUTER, "c", 10, 1000))
    tell(api, "two", (name, OTHER, "d", 1, 60), (OTHER, OTHER, "d", 1, 60))
    assert shown(api, label) == (20, 1816)
    found = {(row["host"], row["router_id"]): (row["packets"], row["bytes"]) for row in listed(api, COUNTS)}
    assert found == {("one", ROUTER): (9, 756), ("two", ROUTER): (10, 1000), ("two", OTHER): (1, 60)}
    assert len(listed(api, COUNTS, f"router_id={ROUTER}&host=two")) == 1
    assert "counter" not in listed(api, COUNTS)[0]
    assert HEARTBEAT_S <= 10  # what docs/routers.md promises
