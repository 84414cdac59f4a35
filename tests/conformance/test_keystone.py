# SPDX-License-Identifier: Apache-2.0
"""The Keystone that tests of identity have."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from conformance.keystone import ADMIN, BLUE_READER, RED_MEMBER, RED_READER, SERVICE, Account, Keystone

ROOT = Path(__file__).parents[2]


def validated(identity: Keystone, account: Account) -> dict[str, object]:
    headers = {"X-Auth-Token": identity.token(SERVICE), "X-Subject-Token": identity.token(account)}
    answer = httpx.get(f"{identity.url}/auth/tokens", headers=headers).raise_for_status().json()["token"]
    return {
        "user": answer["user"]["name"],
        "project": answer["project"]["name"],
        "roles": {role["name"] for role in answer["roles"]},
        "network": {
            endpoint["url"]
            for service in answer["catalog"]
            if service["type"] == "network"
            for endpoint in service["endpoints"]
        },
    }


@pytest.mark.parametrize(
    ("account", "roles"),
    [
        (ADMIN, {"admin", "manager", "member", "reader"}),
        (RED_MEMBER, {"member", "reader"}),
        (RED_READER, {"reader"}),
        (BLUE_READER, {"reader"}),
    ],
)
def test_the_service_user_learns_who_has_a_token(identity: Keystone, account: Account, roles: set[str]) -> None:
    found = validated(identity, account)
    assert (found["user"], found["project"]) == (account.user, account.project)
    assert found["roles"] == roles


def test_the_catalog_names_the_endpoint_that_was_published_last(identity: Keystone) -> None:
    identity.publish("http://127.0.0.1:1")
    identity.publish("http://127.0.0.1:2")
    assert validated(identity, RED_MEMBER)["network"] == {"http://127.0.0.1:2"}


def test_a_wrong_password_gets_no_token(identity: Keystone) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        identity.token(Account("red-member", "red", (), password="wrong"))


def test_a_token_is_still_good_after_a_restart(identity: Keystone) -> None:
    token = identity.token(RED_MEMBER)
    identity.stop()
    with pytest.raises(httpx.ConnectError):
        identity.token(RED_MEMBER)
    identity.start()
    headers = {"X-Auth-Token": identity.token(SERVICE), "X-Subject-Token": token}
    assert httpx.get(f"{identity.url}/auth/tokens", headers=headers).is_success
