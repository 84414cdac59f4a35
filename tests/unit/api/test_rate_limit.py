# SPDX-License-Identifier: Apache-2.0
"""How often one identity may ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.api import rate_limit
from portico.api.app import make_app
from portico.api.rate_limit import Buckets
from portico.settings_observe import RateLimitSettings
from portico.store.store import Store

from .asker import Asker
from .conftest import MakeApi

ME = ("red", "me")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    st.floats(0.1, 1000),
    st.integers(1, 50),
    st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["me", "you"])), max_size=200),
)
def test_nobody_gets_more_than_the_burst_and_what_came_since(
    per_s: float, burst: int, asked: list[tuple[float, str]]
) -> None:
    clock = Clock()
    buckets = Buckets(per_s, burst, clock)
    given_to: dict[str, int] = {}
    for pause_s, user in asked:
        clock.now += pause_s
        wait_s = buckets.take(("red", user))
        assert 0 <= wait_s <= 1 / per_s + 1e-9
        given_to[user] = given_to.get(user, 0) + (wait_s == 0)
        assert given_to[user] <= burst + clock.now * per_s + 1e-6


def test_who_waits_as_long_as_told_gets_a_token() -> None:
    clock = Clock()
    buckets = Buckets(2, 1, clock)
    assert buckets.take(ME) == 0
    assert buckets.take(ME) == 0.5
    clock.now += 0.5
    assert buckets.take(ME) == 0


def test_a_flood_of_identities_takes_bounded_memory_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_BUCKETS", 10)
    buckets = Buckets(1, 1, Clock())
    for number in range(100):
        buckets.take(("red", str(number)))
        assert len(buckets) <= 10
    assert buckets.take(("red", "99")) > 0
    assert buckets.take(("red", "0")) == 0


def test_too_many_requests_are_429_with_when_to_come_again(store: Store, make_api: MakeApi) -> None:
    limit = RateLimitSettings(requests_per_s=0.01, burst=3)
    with Asker(make_app(make_api(store), None, limit), "http://localhost:9696") as asker:
        answers = [asker.ask("GET", "networks") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert answers[3].error == (429, "HTTPTooManyRequests")
        assert 95 <= int(answers[3].headers["retry-after"]) <= 100
        assert "x-openstack-request-id" in answers[3].headers
        assert asker.ask("GET", "networks", x_project_id="blue").status == 200


def test_processes_of_this_host_are_not_limited(store: Store, make_api: MakeApi) -> None:
    limit = RateLimitSettings(requests_per_s=0.01, burst=1)
    with Asker(make_app(make_api(store), None, limit)) as asker:
        assert {asker.ask("GET", "networks").status for _ in range(5)} == {200}


def test_without_a_setting_nobody_is_limited(store: Store, make_api: MakeApi) -> None:
    with Asker(make_app(make_api(store)), "http://localhost:9696") as asker:
        assert {asker.ask("GET", "/v2.0/").status for _ in range(300)} == {200}
