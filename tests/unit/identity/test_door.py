# SPDX-License-Identifier: Apache-2.0
"""The administrator's door: the unix socket, and nothing else."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.api.identity import is_local
from portico.client import Access, Client
from portico.errors import Forbidden, Unauthorized

from .site import Site, line_of, serving

TCP = ("127.0.0.1:0", "[::1]:0")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "users").write_text(line_of("alice", "a") + line_of("root", "r"))
    with serving(folder, TCP, auth="http_basic", http_basic__file=f"{folder}/users", http_basic__admins="root") as made:
        yield made


def unix(site: Site) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=site.unix.removeprefix("unix:")), base_url="http://localhost")


def test_over_the_unix_socket_whoever_opens_it_is_an_administrator(site: Site) -> None:
    path = Path(site.unix.removeprefix("unix:"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with unix(site) as http:
        made = http.post("/v2.0/networks", json={"network": {"project_id": "alice"}})
        assert (made.status_code, made.json()["network"]["project_id"]) == (201, "alice")
        assert http.get("/portico/v1/ports/7/status").status_code == 404


def test_a_web_page_that_gets_to_the_unix_socket_is_kept_out(site: Site) -> None:
    with unix(site) as http:
        assert http.get("/v2.0/networks", headers={"Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost"},
        {"X-Forwarded-For": "", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "unix"},
        {"X-User-Id": "root", "X-Roles": "admin", "X-Project-Id": "root", "X-Is-Admin-Project": "True"},
        {"X-Identity-Status": "Confirmed", "OpenStack-System-Scope": "all"},
        {"X-Auth-Token": "root"},
    ],
)
def test_over_tcp_no_header_opens_it(site: Site, number: int, headers: dict[str, str]) -> None:
    host = ("127.0.0.1", "[::1]")[number]
    answer = httpx.get(f"http://{host}:{site.ports[number]}/v2.0/networks", headers=headers)
    assert answer.status_code == 401


@settings(deadline=None)
@given(st.none() | st.tuples(st.text(), st.integers(0, 65535)))
def test_what_is_not_known_to_be_a_unix_socket_is_none(server: tuple[str, int] | None) -> None:
    assert not is_local({"type": "http", "server": server})
    assert not is_local({"type": "http"})


def test_a_client_of_ours_shows_who_it_is(site: Site, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("r\n")
    access = Access.read("root", str(tmp_path / "password"), "", "")
    with Client(site.url(), access=access) as client:
        assert client.create("networks", {"project_id": "bob"})["project_id"] == "bob"
    with Client(site.url()) as client, pytest.raises(Unauthorized):
        client.list("networks")
    with Client(site.url(), access=Access("alice", "a")) as client, pytest.raises(Forbidden, match="portico:watch"):
        client.get_json("/portico/v1/watch")


def test_without_authentication_a_project_is_named_by_a_header(tmp_path: Path) -> None:
    with serving(tmp_path) as site, httpx.Client(base_url=site.url()) as http:
        for headers, project in (({}, "default"), ({"X-Project-Id": "red"}, "red")):
            made = http.post("/v2.0/networks", json={"network": {}}, headers=headers)
            assert made.json()["network"]["project_id"] == project
        wrong = http.get("/v2.0/networks", headers={"X-Project-Id": "x" * 256})
        assert wrong.status_code == 400 and "X-Project-Id" in wrong.json()["NeutronError"]["message"]
        assert http.get("/v2.0/networks", headers={"Host": "evil.example"}).status_code == 403


def test_without_authentication_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from portico.api.server import make_api, make_authenticator
from portico.settings import load
settings = load(Path("/dev/null"), {{"state_dir": "{tmp_path}"}}, {{}})
make_api(settings)
assert make_authenticator(settings) is None
print(sorted({{"keystoneauth1", "bcrypt", "requests", "oslo_policy"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_whoever_the_settings_or_the_door_make_an_administrator_stays_one_whatever_the_policy_says(
    tmp_path: Path,
) -> None:
    (tmp_path / "users").write_text(line_of("alice", "a") + line_of("root", "r"))
    (tmp_path / "policy.yaml").write_text("context_is_admin: 'role:cloud'\n")
    policy, users = f"{tmp_path}/policy.yaml", f"{tmp_path}/users"
    with serving(
        tmp_path, auth="http_basic", policy_file=policy, http_basic__file=users, http_basic__admins="root"
    ) as made:
        with unix(made) as http:
            assert http.head("/portico/v1/hosts/h1/wanted").status_code == 200
            body = {"network": {"project_id": "alice", "shared": True}}
            assert http.post("/v2.0/networks", json=body).status_code == 201
        url = f"{made.url()}/v2.0/networks"
        assert httpx.post(url, json=body, auth=("root", "r")).status_code == 201
        assert httpx.post(url, json={"network": {"shared": True}}, auth=("alice", "a")).status_code == 403
