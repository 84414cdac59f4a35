# SPDX-License-Identifier: Apache-2.0
"""Who asks, as a real Keystone tells it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from conformance.keystone import ADMIN, BLUE_MEMBER, PASSWORD, RED_MEMBER, RED_READER, SERVICE, Account, Keystone

from conformance import portico
from portico.client import Client

CACHE_S = 1
OUTAGE_S = 5
DEADLINE_S = 30
NETWORKS = "/v2.0/networks"


@pytest.fixture(scope="module")
def settings(identity: Keystone, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    own = portico.identity_settings(identity, tmp_path_factory.mktemp("secret"))
    return {**own, "keystone.cache_s": str(CACHE_S), "keystone.outage_s": str(OUTAGE_S), "log.level": "debug"}


@pytest.fixture(scope="module")
def server(settings: Mapping[str, str]) -> Iterator[portico.Server]:
    with portico.running(settings) as made:
        yield made


@pytest.fixture
def http(server: portico.Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S) as made:
        yield made


def get(http: httpx.Client, token: str, path: str = NETWORKS, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.get(path, headers={"X-Auth-Token": token, **named})


def create(http: httpx.Client, token: str, **values: str) -> dict[str, Any]:
    answer = http.post(NETWORKS, json={"network": values}, headers={"X-Auth-Token": token})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["network"]
    return made


def ids(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {network["id"] for network in answer.json()["networks"]}


def password_of(account: Account) -> dict[str, Any]:
    user = {"name": account.user, "domain": {"id": "default"}, "password": account.password}
    return {"methods": ["password"], "password": {"user": user}}


def token_of(identity: Keystone, how: Mapping[str, Any], scope: object = None) -> str:
    body = {"auth": {"identity": how, **({"scope": scope} if scope else {})}}
    answer = httpx.post(f"{identity.url}/auth/tokens", json=body, timeout=DEADLINE_S).raise_for_status()
    token: str = answer.headers["X-Subject-Token"]
    return token


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_users_act_in_the_projects_of_their_tokens(http: httpx.Client, identity: Keystone) -> None:
    red, blue, admin = (identity.token(account) for account in (RED_MEMBER, BLUE_MEMBER, ADMIN))
    made = create(http, red)
    assert made["project_id"] == identity.id_of("project", "red")
    assert made["id"] in ids(get(http, red)) & ids(get(http, admin))
    assert made["id"] not in ids(get(http, blue))
    assert create(http, admin, project_id=identity.id_of("project", "blue"))["id"] in ids(get(http, blue))
    for path in ("/portico/v1/watch", "/portico/v1/hosts/h/wanted"):
        assert get(http, red, path).status_code == 403


def test_a_reader_only_reads(http: httpx.Client, identity: Keystone) -> None:
    reader = identity.token(RED_READER)
    assert get(http, reader).status_code == 200
    answer = http.post(NETWORKS, json={"network": {}}, headers={"X-Auth-Token": reader})
    assert answer.status_code == 403


def test_headers_that_only_a_proxy_of_keystones_may_set_mean_nothing(http: httpx.Client, identity: Keystone) -> None:
    forged = {"X_Roles": "admin", "X_Project_Id": identity.id_of("project", "blue"), "X_Identity_Status": "Confirmed"}
    assert get(http, "", **forged).status_code == 401
    blue = create(http, identity.token(BLUE_MEMBER))
    assert blue["id"] not in ids(get(http, identity.token(RED_MEMBER), **forged))


@pytest.mark.parametrize("token", ["", "wrong", "gAAAAAB" + "x" * 176, "x" * 9000])
def test_without_a_good_token_there_is_only_the_way_to_one(http: httpx.Client, identity: Keystone, token: str) -> None:
    refused = get(http, token)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == f'Keystone uri="{identity.url}"'
    assert set(refused.json()["NeutronError"]) == {"type", "message", "detail"}
    assert [get(http, token, path).status_code for path in ("/", "/healthz", "/v2.0/")] == [200, 200, 401]


def test_a_revoked_token_is_refused_soon(http: httpx.Client, identity: Keystone) -> None:
    token = identity.token(RED_MEMBER)
    assert get(http, token).status_code == 200
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    httpx.delete(f"{identity.url}/auth/tokens", headers=headers).raise_for_status()
    assert within(CACHE_S + 2, lambda: get(http, token).status_code == 401)


def test_a_user_who_is_disabled_is_refused_soon(http: httpx.Client, identity: Keystone) -> None:
    identity.add(Account("leaver", "red", ("member",)))
    token = identity.token(Account("leaver", "red", ()))
    assert get(http, token).status_code == 200
    url = f"/users/{identity.id_of('user', 'leaver')}"
    identity.admin.patch(url, json={"user": {"enabled": False}}).raise_for_status()
    assert within(CACHE_S + 2, lambda: get(http, token).status_code == 401)


def test_a_token_must_have_a_scope_of_use(http: httpx.Client, identity: Keystone) -> None:
    unscoped = get(http, token_of(identity, password_of(RED_MEMBER), "unscoped"))
    assert unscoped.status_code == 403
    assert "has no scope" in unscoped.json()["NeutronError"]["message"]
    user, role = identity.id_of("user", "admin"), identity.id_of("role", "admin")
    identity.admin.put(f"/domains/default/users/{user}/roles/{role}").raise_for_status()
    domains = get(http, token_of(identity, password_of(ADMIN), {"domain": {"id": "default"}}))
    assert domains.status_code == 403
    assert "has the scope of domain 'default'" in domains.json()["NeutronError"]["message"]


def test_an_administrator_of_the_system_sees_all_projects(http: httpx.Client, identity: Keystone) -> None:
    made = create(http, identity.token(RED_MEMBER))
    system = token_of(identity, password_of(ADMIN), {"system": {"all": True}})
    assert made["id"] in ids(get(http, system))
    nobodys = http.post(NETWORKS, json={"network": {}}, headers={"X-Auth-Token": system})
    assert nobodys.status_code == 400 and "project_id: must be given" in nobodys.text
    assert create(http, system, project_id=made["project_id"])["project_id"] == made["project_id"]


@pytest.fixture
def expired(identity: Keystone) -> str:
    """A token that has expired meanwhile."""
    path = identity.folder / "keystone.conf"
    before = path.read_text()
    identity.stop()
    path.write_text(before.replace("expiration = 86400", "expiration = 3"))
    identity.start()
    token = identity.token(RED_MEMBER)
    identity.stop()
    path.write_text(before)
    identity.start()
    time.sleep(3.5)
    return token


def test_a_service_goes_on_with_a_user_whose_token_expires(
    http: httpx.Client, identity: Keystone, expired: str
) -> None:
    assert get(http, expired).status_code == 401
    service = identity.token(SERVICE)
    assert get(http, expired, X_Service_Token=service).status_code == 200
    assert get(http, expired).status_code == 401
    assert get(http, expired, X_Service_Token=identity.token(BLUE_MEMBER)).status_code == 401
    assert get(http, expired, X_Service_Token="wrong").status_code == 401
    assert get(http, identity.token(RED_MEMBER), X_Service_Token=expired).status_code == 401
    assert get(http, "wrong", X_Service_Token=service).status_code == 401


def application_credential(identity: Keystone, account: Account, name: str, **values: object) -> dict[str, str]:
    """Make one and return its id and secret."""
    headers = {"X-Auth-Token": identity.token(account)}
    body = {"application_credential": {"name": name, **values}}
    url = f"{identity.url}/users/{identity.id_of('user', account.user)}/application_credentials"
    made = httpx.post(url, json=body, headers=headers, timeout=DEADLINE_S).raise_for_status().json()
    return {name: made["application_credential"][name] for name in ("id", "secret")}


def test_an_application_credential_is_good_for_what_its_rules_say(http: httpx.Client, identity: Keystone) -> None:
    def token(name: str, *rules: Mapping[str, str]) -> str:
        given = {"access_rules": list(rules)} if rules else {}
        credential = application_credential(identity, RED_MEMBER, name, **given)
        how = {"methods": ["application_credential"], "application_credential": credential}
        return token_of(identity, how)

    made = create(http, identity.token(RED_MEMBER))
    one = f"{NETWORKS}/{made['id']}"
    lists = {"service": "network", "method": "GET", "path": "/v2.0/networks"}
    all_below = {"service": "network", "method": "GET", "path": "/v2.0/networks/**"}
    compute = {"service": "compute", "method": "GET", "path": "/v2.0/networks"}
    for token_, statuses in (
        (token("any"), (200, 200, 201)),
        (token("lists", lists), (200, 401, 401)),
        (token("below", all_below), (401, 200, 401)),
        (token("compute", compute), (401, 401, 401)),
    ):
        posted = http.post(NETWORKS, json={"network": {}}, headers={"X-Auth-Token": token_})
        assert (get(http, token_).status_code, get(http, token_, one).status_code, posted.status_code) == statuses
    # A service that asks on the user's behalf is not what the rules are about.
    assert get(http, token_, X_Service_Token=identity.token(SERVICE)).status_code == 200


def test_while_keystone_is_gone_known_tokens_work_for_a_while(http: httpx.Client, identity: Keystone) -> None:
    known, unknown = identity.token(RED_MEMBER), identity.token(RED_MEMBER)
    assert get(http, known).status_code == 200
    identity.stop()
    try:
        time.sleep(CACHE_S)
        assert get(http, known).status_code == 200
        started = time.monotonic()
        refused = get(http, unknown)
        assert refused.status_code == 503 and time.monotonic() - started < 2
        assert refused.json()["NeutronError"]["message"] == "The Keystone service is temporarily unavailable."
        assert within(OUTAGE_S + 2, lambda: get(http, known).status_code == 503)
        assert get(http, "", "/healthz").status_code == 200
    finally:
        identity.start()
    assert within(DEADLINE_S, lambda: get(http, unknown).status_code == 200)
    assert get(http, known).status_code == 200


def test_the_unix_socket_needs_no_token(server: portico.Server) -> None:
    with Client(server.local_url) as client:
        assert client.create("networks", {"name": "local"})["project_id"] == "default"


def test_portico_may_itself_have_an_application_credential(
    identity: Keystone, settings: Mapping[str, str], tmp_path: Path
) -> None:
    credential = application_credential(identity, SERVICE, "portico")
    (tmp_path / "secret").write_text(credential["secret"] + "\n")
    changed = {
        "keystone.application_credential_id": credential["id"],
        "keystone.application_credential_secret_file": str(tmp_path / "secret"),
    }
    with portico.running({**settings, **changed}) as server, httpx.Client(base_url=server.url) as http:
        assert get(http, identity.token(RED_MEMBER)).status_code == 200


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"keystone.username": "nobody"}, "Portico's own user cannot get a token: 401"),
        (
            {"keystone.username": "red-member", "keystone.project_name": "red"},
            "it answers 403: Portico's own user may not validate tokens",
        ),
        ({"keystone.auth_url": "http://127.0.0.1:1/v3"}, "ConnectFailure"),
    ],
)
def test_a_service_user_who_may_not_ask_is_complained_of_in_the_log(
    identity: Keystone, settings: Mapping[str, str], changed: Mapping[str, str], words: str
) -> None:
    with portico.running({**settings, **changed}) as server, httpx.Client(base_url=server.url) as http:
        assert get(http, identity.token(BLUE_MEMBER)).status_code == 503
        assert words in server.log.read_text()


def test_nothing_secret_is_in_the_log_or_the_list_of_processes(
    server: portico.Server, http: httpx.Client, identity: Keystone
) -> None:
    tokens = [identity.token(account) for account in (RED_MEMBER, SERVICE)]
    get(http, tokens[0], X_Service_Token=tokens[1])
    get(http, "wrong-but-secret")
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    seen = server.log.read_text() + "".join(line.decode() for line in lines if b"portico.cli" in line)
    assert "portico.cli" in seen
    for secret in (*tokens, PASSWORD, "wrong-but-secret"):
        assert secret not in seen


def test_openstacks_command_finds_portico_in_the_catalog(server: portico.Server, identity: Keystone) -> None:
    identity.publish(server.url)
    environment = {
        "OS_AUTH_URL": identity.url,
        "OS_USERNAME": RED_MEMBER.user,
        "OS_PASSWORD": RED_MEMBER.password,
        "OS_PROJECT_NAME": RED_MEMBER.project,
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
    }
    command = str(Path(sys.executable).parent / "openstack")
    argv = [command, "network", "create", "red-net", "-f", "value", "-c", "project_id"]
    done = subprocess.run(
        argv, env={**os.environ, **environment}, capture_output=True, text=True, timeout=2 * DEADLINE_S
    )
    assert (done.returncode, done.stdout.strip()) == (0, identity.id_of("project", "red")), done.stderr
