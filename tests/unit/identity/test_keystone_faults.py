# SPDX-License-Identifier: Apache-2.0
"""A Keystone that is slow, broken or gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from portico.errors import SettingsError, Unauthorized, Unavailable
from portico.identity.keystone import PAUSE_S, THREADS, Keystone
from portico.identity.keystone_server import KeystoneServer
from portico.identity.who import Credentials, Who

from .faulty import TIMEOUT_S, Faulty, faulty
from .site import line_of, serving

PASSWORD = "only-we-know"


class Clock:
    """The monotonic clock, put forward."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    monkeypatch.setenv("PORTICO_KEYSTONE_PASSWORD", PASSWORD)
    with faulty() as made:
        yield made


@pytest.fixture
def keystone(server: Faulty, clock: Clock) -> Keystone:
    settings = server.settings()
    return Keystone(settings, KeystoneServer(settings), clock)


@pytest.fixture(autouse=True)
def runner() -> Iterator[None]:
    """One event loop for all that a test asks, as a server has one."""
    with asyncio.Runner() as made:
        LOOP.append(made)
        yield
        LOOP.clear()


LOOP: list[asyncio.Runner] = []


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return LOOP[0].run(coroutine)


def given(token: str, service_token: str = "") -> Credentials:
    return Credentials("GET", "/v2.0/networks", token=token, service_token=service_token)


def find(keystone: Keystone, token: str) -> Who:
    found: Who = keystone.known(given(token)) or run(keystone.find(given(token)))
    return found


def test_a_hundred_requests_with_one_new_token_ask_once(keystone: Keystone, server: Faulty) -> None:
    server.fault = "slow"

    async def many() -> list[Who]:
        return await asyncio.gather(*(keystone.find(given("good")) for _ in range(100)))

    assert {who.user_id for who in run(many())} == {"good"}
    assert server.asked["good"] == 1


def test_one_who_goes_away_does_not_take_the_answer_from_the_others(keystone: Keystone, server: Faulty) -> None:
    server.fault = "slow"

    async def two() -> Who:
        first = asyncio.create_task(keystone.find(given("good")))
        second = asyncio.create_task(keystone.find(given("good")))
        await asyncio.sleep(TIMEOUT_S / 16)
        first.cancel()
        return await second

    assert run(two()).user_id == "good"
    assert server.asked["good"] == 1


def test_a_wrong_token_is_asked_about_once_in_a_while(keystone: Keystone, server: Faulty, clock: Clock) -> None:
    for _ in range(3):
        with pytest.raises(Unauthorized, match="unknown, revoked or expired"):
            find(keystone, "bad")
    assert server.asked["bad"] == 1
    clock.ahead_s = 11
    with pytest.raises(Unauthorized):
        find(keystone, "bad")
    assert server.asked["bad"] == 2


def test_a_token_is_checked_anew_after_a_while(keystone: Keystone, server: Faulty, clock: Clock) -> None:
    for ahead_s, asked in ((0, 1), (44, 1), (46, 2), (80, 2), (92, 3)):
        clock.ahead_s = ahead_s
        assert find(keystone, "good").project_id == "p1"
        assert server.asked["good"] == asked
    assert server.headers[0]["OpenStack-Identity-Access-Rules"] == "1.0"


@pytest.mark.parametrize("fault", ["hang", "close", "garbage", "redirect", 500, 503, 401, 403])
def test_without_an_answer_known_tokens_work_for_a_while_and_others_do_not(
    keystone: Keystone, server: Faulty, clock: Clock, fault: str | int, caplog: pytest.LogCaptureFixture
) -> None:
    find(keystone, "good")
    server.fault = fault
    clock.ahead_s = 100
    started = time.monotonic()
    assert find(keystone, "good").user_id == "good"
    with pytest.raises(Unavailable, match="temporarily unavailable"):
        find(keystone, "good-too")
    assert time.monotonic() - started < 5 * TIMEOUT_S
    clock.ahead_s = 300 - 10 * TIMEOUT_S
    assert find(keystone, "good").user_id == "good"
    clock.ahead_s = 301
    with pytest.raises(Unavailable):
        find(keystone, "good")
    server.fault = ""
    clock.ahead_s += PAUSE_S
    assert find(keystone, "good-too").user_id == "good-too"
    assert "Keystone at" in caplog.text and "good" not in caplog.text


def test_a_keystone_that_is_gone_holds_nobody_up(keystone: Keystone, server: Faulty, clock: Clock) -> None:
    """While it hangs, a thousand requests are answered in the time of one."""
    find(keystone, "good")
    server.fault = "hang"
    clock.ahead_s = 100

    async def many() -> list[object]:
        return await asyncio.gather(
            *(keystone.find(given(f"good-{number}")) for number in range(500)),
            *(keystone.find(given("good")) for _ in range(500)),
            return_exceptions=True,
        )

    started = time.monotonic()
    answers = run(many())
    assert time.monotonic() - started < 6 * TIMEOUT_S
    assert all(isinstance(answer, Unavailable) for answer in answers[:500])
    assert {getattr(answer, "user_id", None) for answer in answers[500:]} == {"good"}
    assert sum(server.asked.values()) <= 1 + 3 * THREADS


def test_while_it_is_away_one_request_at_a_time_asks(keystone: Keystone, server: Faulty, clock: Clock) -> None:
    server.fault = "hang"
    with pytest.raises(Unavailable):
        find(keystone, "good")
    clock.ahead_s = PAUSE_S
    before = sum(server.asked.values())

    async def many() -> list[object]:
        return await asyncio.gather(*(keystone.find(given(f"good-{n}")) for n in range(50)), return_exceptions=True)

    run(many())
    assert sum(server.asked.values()) - before == 1


def test_what_is_no_token_is_not_even_asked_about(keystone: Keystone, server: Faulty) -> None:
    for token in ("gööd", "good\x7f", "good" + "x" * 8192):
        with pytest.raises(Unauthorized):
            find(keystone, token)
    assert not server.asked


def test_expiry_counts_although_the_answer_is_still_believed(keystone: Keystone) -> None:
    with pytest.raises(Unauthorized, match="X-Auth-Token"):
        keystone.known(given(""))
    # 999 years are not waited for here; a real Keystone's tokens expire in tests/conformance.
    assert find(keystone, "good").user_id == "good"


def test_a_service_token_without_the_role_is_refused(keystone: Keystone) -> None:
    with pytest.raises(Unauthorized, match="none of the roles service"):
        run(keystone.find(given("good", "good-service")))


def test_nothing_secret_is_logged_even_at_level_debug(
    keystone: Keystone, server: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    find(keystone, "good-secret")
    server.fault = 500
    with pytest.raises(Unavailable):
        find(keystone, "good-secret-2")
    for secret in (PASSWORD, "good-secret", "ours"):
        assert secret not in caplog.text
        assert secret not in repr(given(secret))


def test_without_a_secret_there_is_no_start(server: Faulty, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"keystone\.password_file = '/absent': No such file"):
        KeystoneServer(server.settings(password_file="/absent"))
    monkeypatch.delenv("PORTICO_KEYSTONE_PASSWORD")
    with pytest.raises(SettingsError, match="must be given, or the variable PORTICO_KEYSTONE_PASSWORD"):
        KeystoneServer(server.settings())
    with pytest.raises(SettingsError, match="PORTICO_KEYSTONE_APPLICATION_CREDENTIAL_SECRET"):
        KeystoneServer(server.settings(application_credential_id="1"))
    (tmp_path / "password").write_text(PASSWORD + "\n")
    KeystoneServer(server.settings(password_file=str(tmp_path / "password")))


def test_an_agent_of_another_host_has_a_password_beside_keystones_users(server: Faulty, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(line_of("agent", "a"))
    (tmp_path / "password").write_text(PASSWORD)
    with (
        serving(
            tmp_path,
            auth="keystone",
            keystone__auth_url=server.url,
            keystone__password_file=f"{tmp_path}/password",
            http_basic__file=f"{tmp_path}/users",
            http_basic__admins="agent",
        ) as site,
        httpx.Client(base_url=site.url()) as http,
    ):
        path = "/portico/v1/watch"
        assert http.head(path, auth=("agent", "a")).status_code == 200
        assert http.head(path, headers={"X-Auth-Token": "good"}).status_code == 403
        for refused in (http.get(path, auth=("agent", "b")), http.get(path), http.get(path, headers=BOTH)):
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == f'Keystone uri="{server.url}/v3"'


# A token that is given must be good, whatever else is given.
BOTH = {"X-Auth-Token": "bad", "Authorization": "Basic YWdlbnQ6YQ=="}
