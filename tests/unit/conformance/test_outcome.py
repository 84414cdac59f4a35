# SPDX-License-Identifier: Apache-2.0
"""What is made of the suites' results."""

from __future__ import annotations

from typing import Any

from conformance.outcome import NOT_RUN, Outcome, failures, outcomes, reasons, table, unexplained
from conformance.selection import Expected, Selection, Skip

MODULE = "suite.api.test_networks"
NETWORK = f"{MODULE}.NetworkTest.test_create[id-1,smoke]"
PORT = f"{MODULE}.PortTest.test_create[id-2]"
PORTS = f"{MODULE}.PortTest.test_list[id-3]"
MISSING = "router extension not enabled."


def line(test: str, status: str, **details: str) -> dict[str, Any]:
    return {"id": test, "status": status, "seconds": 0.5, "details": details}


def expected(*advertised: str) -> Expected:
    skips = (Skip(r"PortTest\.test_list", "^No agent", "there is none here"),)
    selection = Selection(
        modules=(MODULE,),
        fast={},
        later={"router": "routers are later"},
        unasked={"router": (r"\.PortTest\.test_list\b",)},
        skips=skips,
    )
    return Expected(selection, advertised)


def test_a_result_has_the_status_the_time_and_the_last_thing_said() -> None:
    traceback = "Traceback (most recent call last):\n  File x\n    raise y\nAssertionError: 1 != 2: of\nthe network\n"
    found = outcomes([NETWORK, PORT], [line(NETWORK, "success"), line(PORT, "fail", traceback=traceback)])
    assert found[0] == Outcome(NETWORK, "passed", 0.5)
    assert (found[1].status, found[1].why) == ("failed", "AssertionError: 1 != 2: of the network")


def test_a_long_message_keeps_both_ends() -> None:
    [found] = outcomes([PORT], [line(PORT, "fail", traceback=f"ValueError: first {'x' * 5000} last")])
    assert found.why.startswith("ValueError: first") and found.why.endswith("last") and len(found.why) < 700


def test_a_class_that_is_skipped_stands_for_all_its_tests() -> None:
    skipped = line(f"setUpClass ({MODULE}.PortTest)", "skip", reason=MISSING)
    found = outcomes([NETWORK, PORT, PORTS], [line(NETWORK, "success"), skipped])
    assert [outcome.status for outcome in found] == ["passed", "skipped", "skipped"]
    assert {outcome.why for outcome in found[1:]} == {MISSING}


def test_a_class_that_fails_at_its_end_fails_its_tests() -> None:
    late = line(f"tearDownClass ({MODULE}.PortTest)", "fail", traceback="Conflict: in use")
    [found] = outcomes([PORT], [line(PORT, "success"), late])
    assert (found.status, found.why) == ("failed", "Conflict: in use")


def test_a_listed_test_without_a_result_has_failed() -> None:
    assert outcomes([NETWORK], []) == [Outcome(NETWORK, "failed", 0.0, NOT_RUN)]


def test_an_unknown_status_is_a_failure() -> None:
    assert [outcome.status for outcome in outcomes([PORT], [line(PORT, "inprogress")])] == ["failed"]


def test_the_table_counts_each_module_and_all() -> None:
    found = [
        Outcome(NETWORK, "passed", 1.0),
        Outcome(PORT, "skipped", 0.0, MISSING),
        Outcome("suite.api.test_tags.TagTest.test_replace", "failed", 0.25, "TypeError: x"),
    ]
    assert [row.split() for row in table(found).splitlines()] == [
        ["module", "passed", "failed", "skipped", "seconds"],
        [MODULE, "1", "0", "1", "1.0"],
        ["suite.api.test_tags", "0", "1", "0", "0.2"],
        ["all", "1", "1", "1", "1.2"],
    ]
    assert failures(found).splitlines()[-2:] == ["  TagTest.test_replace", "      TypeError: x"]


def test_a_skip_for_want_of_a_later_extension_is_explained_until_it_is_advertised() -> None:
    for reason in (MISSING, "Skipped because network extension: router is not enabled"):
        skipped = [Outcome(PORT, "skipped", 0.0, reason)]
        assert unexplained(skipped, expected()) == []
        assert "routers are later" in reasons(skipped, expected())
        assert unexplained(skipped, expected("router")) == skipped
        assert "NOT EXPECTED" in reasons(skipped, expected("router"))


def test_a_skip_of_another_kind_is_explained_for_the_tests_that_are_named() -> None:
    named, other = Outcome(PORTS, "skipped", 0.0, "No agent runs"), Outcome(PORT, "skipped", 0.0, "No agent runs")
    assert unexplained([named, other], expected()) == [other]


def test_a_test_that_needs_a_later_extension_without_asking_counts_as_skipped() -> None:
    reason = expected().withheld(PORTS)
    assert "router" in reason and expected().withheld(PORT) == ""
    [found] = outcomes([PORTS], [], {PORTS: reason})
    assert (found.status, found.why) == ("skipped", reason)
    assert unexplained([found], expected()) == []
    assert expected("router").withheld(PORTS) == ""


def test_a_failure_is_never_explained() -> None:
    failed = [Outcome(PORTS, "failed", 0.0, MISSING)]
    assert unexplained(failed, expected()) == failed
