# SPDX-License-Identifier: Apache-2.0
"""Access rules of application credentials, against the same rules written as regular expressions."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.identity.access_rule import MAX_PATH, AccessRule, admits

PIECES = {"*": "[^/]+", "**": ".*", "{id}": "[^/]+", "/": "/", "a": "a", ".": r"\.", "ab": "ab"}


def is_admitted(pattern: str, path: str, method: str = "GET") -> bool:
    return admits([AccessRule("network", "GET", pattern)], method, path)


@pytest.mark.parametrize(
    ("pattern", "path", "admitted"),
    [
        ("/v2.0/networks", "/v2.0/networks", True),
        ("/v2.0/networks", "/v2.0/networks/1", False),
        ("/v2.0/networks", "/v2x0/networks", False),
        ("/v2.0/networks/{id}", "/v2.0/networks/1", True),
        ("/v2.0/networks/{id}", "/v2.0/networks/", False),
        ("/v2.0/networks/{id}", "/v2.0/networks/1/tags", False),
        ("/v2.0/*", "/v2.0/ports", True),
        ("/v2.0/*", "/v2.0/ports/1", False),
        ("/v2.0/**", "/v2.0/ports/1", True),
        ("/v2.0/**", "/v2.0/", True),
        ("**", "", True),
        ("/v2.0/networks", "/v2.0/networks\n", False),
    ],
)
def test_what_a_path_of_a_rule_is_for(pattern: str, path: str, admitted: bool) -> None:
    assert is_admitted(pattern, path) is admitted


@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(PIECES)), max_size=6), st.text("/ab.", max_size=8))
def test_a_rule_admits_what_a_regular_expression_would(pieces: list[str], path: str) -> None:
    # "*" and "**" side by side are read from the left, so here they are kept apart.
    apart = [p for p, before in zip(pieces, ["", *pieces], strict=False) if not (p[0] == "*" and before[-1:] == "*")]
    while apart != pieces:
        pieces = apart
        apart = [
            p for p, before in zip(pieces, ["", *pieces], strict=False) if not (p[0] == "*" and before[-1:] == "*")
        ]
    expected = re.fullmatch("".join(PIECES[p] for p in pieces), path, re.DOTALL) is not None
    assert is_admitted("".join(pieces), path) is expected


def test_another_method_or_service_or_no_rule_at_all_admits_nothing() -> None:
    assert not is_admitted("/v2.0/networks", "/v2.0/networks", "POST")
    assert not admits([AccessRule("compute", "GET", "/v2.0/networks")], "GET", "/v2.0/networks")
    assert not admits([], "GET", "/v2.0/networks")


def test_nobody_can_write_a_rule_that_takes_long() -> None:
    started = time.process_time()
    assert not is_admitted("**a" * 42 + "b", "a" * MAX_PATH)
    assert not is_admitted("**", "a" * (MAX_PATH + 1))
    assert time.process_time() - started < 1
