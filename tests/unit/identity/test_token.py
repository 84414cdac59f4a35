# SPDX-License-Identifier: Apache-2.0
"""What is made of Keystone's words about a token, and how long they are believed."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import Forbidden
from portico.identity.token import Token, decode
from portico.identity.token_cache import REMEMBERED, WRONG_REMEMBERED, WRONG_S, TokenCache
from portico.identity.who import Who

from .faulty import description

ADMIN = [{"id": "1", "name": "admin"}]


def token(**changes: object) -> Token:
    return decode(json.dumps(description("u1", **changes)).encode())


def test_a_projects_member_is_one() -> None:
    assert token().who == Who("p1", "u1", ("member", "reader"))
    token().require_scope()


def test_whether_a_role_makes_an_administrator_is_left_to_the_policy() -> None:
    assert token(roles=ADMIN).who == Who("p1", "u1", ("admin",))
    system = token(roles=ADMIN, project=None, system={"all": True})
    assert system.who == Who("", "u1", ("admin",), system_scope="all")
    system.require_scope()


def test_a_domains_administrator_is_not_the_clouds() -> None:
    found = token(roles=ADMIN, project=None, domain={"id": "d1", "name": "d"})
    assert found.who.domain_id == "d1"
    with pytest.raises(Forbidden, match=r"has the scope of domain 'd1'; the Networking API needs one of a project"):
        found.require_scope()


def test_a_token_without_scope_is_refused_with_the_reason() -> None:
    with pytest.raises(Forbidden, match="has no scope"):
        token(roles=None, project=None).require_scope()


def test_access_rules_come_with_application_credentials_only() -> None:
    assert token().access_rules is None
    assert token(application_credential={"id": "1", "restricted": True}).access_rules is None
    assert token(application_credential={"id": "1", "access_rules": []}).access_rules == ()
    rule = {"id": "7", "service": "network", "method": "GET", "path": "/v2.0/*"}
    [found] = token(application_credential={"id": "1", "access_rules": [rule]}).access_rules or ()
    assert (found.service, found.method, found.path) == ("network", "GET", "/v2.0/*")


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=3), lambda inner: st.dictionaries(st.text(max_size=3), inner)
    )
)
def test_what_is_no_description_is_said_to_be_none(words: object) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(json.dumps({"token": words}).encode())


class Clock:
    """A monotonic clock that is put forward."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@settings(deadline=None)
@given(cache_s=st.floats(0, 60), outage_s=st.floats(0, 600), passed_s=st.floats(0, 700))
def test_an_answer_is_believed_as_long_as_the_settings_say(cache_s: float, outage_s: float, passed_s: float) -> None:
    clock = Clock()
    cache = TokenCache(cache_s, outage_s, clock)
    cache.note(b"1", token(), clock.now_s)
    clock.now_s += passed_s
    since_s = clock.now_s - 1000.0
    assert (cache.fresh(b"1") is not None) is (clock.now_s < 1000.0 + cache_s) or since_s == cache_s
    assert (cache.before_outage(b"1") is not None) is (clock.now_s < 1000.0 + outage_s)


def test_a_token_that_becomes_wrong_is_not_believed_in_an_outage_either() -> None:
    clock = Clock()
    cache = TokenCache(45, 300, clock)
    cache.note(b"1", token(), clock.now_s)
    cache.note(b"1", None, clock.now_s)
    assert cache.fresh(b"1") is None and cache.before_outage(b"1") is None and cache.is_wrong(b"1")
    clock.now_s += WRONG_S
    assert not cache.is_wrong(b"1")


def test_neither_good_nor_wrong_tokens_fill_the_memory_and_the_newest_stay() -> None:
    clock = Clock()
    cache = TokenCache(45, 300, clock)
    good = token()
    for number in range(REMEMBERED + 5):
        cache.note(b"g%d" % number, good, clock.now_s)
    for number in range(WRONG_REMEMBERED + 5):
        cache.note(b"w%d" % number, None, clock.now_s)
    assert [cache.fresh(b"g%d" % n) is not None for n in (4, 5, REMEMBERED + 4)] == [False, True, True]
    assert [cache.is_wrong(b"w%d" % n) for n in (4, 5, WRONG_REMEMBERED + 4)] == [False, True, True]
