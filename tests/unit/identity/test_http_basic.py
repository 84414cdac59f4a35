# SPDX-License-Identifier: Apache-2.0
"""Users of a file over HTTP: real sockets, real hashes."""

from __future__ import annotations

import asyncio
import base64
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import httpx
import pytest

from portico.errors import SettingsError, Unauthorized
from portico.identity.http_basic import CACHE_S, HttpBasic
from portico.identity.who import Credentials, Who

from .site import Site, line_of, serving

PASSWORDS = {"alice": "a:b c", "bob": "bäb", "root": "r"}
USERS = "".join(line_of(name, password) for name, password in PASSWORDS.items())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "users").write_text(USERS)
    with serving(folder, auth="http_basic", http_basic__file=str(folder / "users"), http_basic__admins="root") as made:
        yield made


@pytest.fixture
def http(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url()) as made:
        yield made


def header(name: str, password: str | bytes) -> str:
    given = password if isinstance(password, bytes) else password.encode()
    return "Basic " + base64.b64encode(name.encode() + b":" + given).decode()


def project_of(http: httpx.Client, name: str, **headers: str) -> str:
    answer = http.post(
        "/v2.0/networks",
        json={"network": {}},
        headers={"Authorization": header(name, PASSWORDS[name]), **headers},
    )
    assert answer.status_code == 201, answer.text
    project: str = answer.json()["network"]["project_id"]
    return project


def test_a_user_acts_in_the_project_of_its_name(http: httpx.Client) -> None:
    assert [project_of(http, name) for name in ("alice", "bob")] == ["alice", "bob"]


def test_an_administrator_may_name_a_project_and_others_only_their_own(http: httpx.Client) -> None:
    assert project_of(http, "root") == "root"
    assert project_of(http, "root", **{"X-Project-Id": "alice"}) == "alice"
    assert project_of(http, "alice", **{"X-Project-Id": "alice"}) == "alice"
    refused = http.get(
        "/v2.0/networks", headers={"Authorization": header("alice", PASSWORDS["alice"]), "X-Project-Id": "bob"}
    )
    assert refused.status_code == 403
    assert "user 'alice' is in project 'alice' alone" in refused.json()["NeutronError"]["message"]


@pytest.mark.parametrize(
    "authorization",
    [
        header("alice", "wrong"),
        header("nobody", "a:b c"),
        header("", ""),
        header("alice", b"a:b c\0"),
        header("alice", b"\xff"),
        "Basic " + base64.b64encode(b"\xff:x").decode(),
        "Basic " + base64.b64encode(b"alice").decode(),
        "Basic !",
        "Basic",
        "Bearer x",
        "Basic " + "A" * 8192,
    ],
)
def test_whoever_is_no_user_is_told_how_to_become_one(http: httpx.Client, authorization: str) -> None:
    answer = http.get("/v2.0/networks", headers={"Authorization": authorization})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="portico"'
    assert answer.headers["X-OpenStack-Request-Id"].startswith("req-")
    assert answer.json()["NeutronError"]["type"] == "Unauthorized"


def test_without_a_user_only_the_versions_and_the_health_are_told(http: httpx.Client) -> None:
    status = {
        path: http.get(path).status_code
        for path in ("/", "/healthz", "/v2.0", "/v2.0/", "/v2.0/networks", "/openapi.json", "/portico/v1/watch", "/no")
    }
    assert status == {"/": 200, "/healthz": 200} | {path: 401 for path in status if path not in ("/", "/healthz")}


def test_what_is_about_all_projects_is_for_administrators(http: httpx.Client) -> None:
    path = "/portico/v1/watch"
    assert http.head(path, headers={"Authorization": header("alice", PASSWORDS["alice"])}).status_code == 403
    assert http.head(path, headers={"Authorization": header("root", PASSWORDS["root"])}).status_code == 200


def test_a_page_of_another_origin_cannot_use_what_a_browser_remembers(http: httpx.Client) -> None:
    known = {"Authorization": header("alice", PASSWORDS["alice"])}
    assert http.get("/v2.0/networks", headers={**known, "Origin": "https://evil.example"}).status_code == 403
    assert http.get("/v2.0/networks", headers={**known, "Host": "api.example:9696"}).status_code == 200


class Clock:
    """A monotonic clock that is put forward."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def basic(tmp_path: Path, clock: Clock) -> HttpBasic:
    (tmp_path / "users").write_text(USERS)
    return HttpBasic(tmp_path / "users", ("root",), clock)


def given(name: str, password: str) -> Credentials:
    return Credentials("GET", "/v2.0/networks", authorization=header(name, password))


def test_a_right_password_is_remembered_for_a_minute_and_not_as_itself(basic: HttpBasic, clock: Clock) -> None:
    alice = given("alice", PASSWORDS["alice"])
    assert basic.known(alice) is None
    found = asyncio.run(basic.find(alice))
    assert found == Who("alice", "alice", ("member", "reader"))
    assert basic.known(alice) == found
    assert basic.known(given("alice", "wrong")) is None
    assert PASSWORDS["alice"] not in str(vars(basic)) and alice.authorization not in str(vars(basic))
    clock.now_s += CACHE_S
    assert basic.known(alice) is None


def test_a_change_of_the_file_counts_at_once(basic: HttpBasic, tmp_path: Path) -> None:
    alice = given("alice", PASSWORDS["alice"])
    asyncio.run(basic.find(alice))
    (tmp_path / "users").write_text(line_of("alice", "another"))
    assert basic.known(alice) is None
    with pytest.raises(Unauthorized):
        asyncio.run(basic.find(alice))
    assert asyncio.run(basic.find(given("alice", "another"))).user_id == "alice"


def test_an_unknown_user_costs_as_much_as_a_wrong_password(tmp_path: Path) -> None:
    cost = 8
    (tmp_path / "users").write_text(f"alice:{bcrypt.hashpw(b'a', bcrypt.gensalt(cost)).decode()}\n")
    basic = HttpBasic(tmp_path / "users", ())

    def seconds(name: str) -> float:
        taken = []
        for number in range(9):
            started = time.process_time()
            with pytest.raises(Unauthorized):
                asyncio.run(basic.find(given(name, f"wrong {number}")))
            taken.append(time.process_time() - started)
        return statistics.median(taken)

    assert 0.5 < seconds("nobody") / seconds("alice") < 2


def test_many_requests_with_one_password_check_it_once(tmp_path: Path) -> None:
    cost = 9
    (tmp_path / "users").write_text(f"alice:{bcrypt.hashpw(b'a', bcrypt.gensalt(cost)).decode()}\n")
    basic = HttpBasic(tmp_path / "users", ())
    started = time.process_time()
    bcrypt.hashpw(b"a", bcrypt.gensalt(cost))
    once_s = time.process_time() - started

    async def many() -> list[Who]:
        return await asyncio.gather(*(basic.find(given("alice", "a")) for _ in range(100)))

    started = time.process_time()
    assert len(set(asyncio.run(many()))) == 1
    assert time.process_time() - started < 20 * once_s


def test_an_administrator_who_is_no_user_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(USERS)
    with pytest.raises(SettingsError, match=r"http_basic\.admins: 'admin' is no user of"):
        HttpBasic(tmp_path / "users", ("admin",))
