# SPDX-License-Identifier: Apache-2.0
"""Address scopes through HTTP."""

from __future__ import annotations

from .asker import Asker


def test_an_address_scope_lives_from_create_to_delete(api: Asker) -> None:
    made = api.create("address-scopes", name="one", ip_version=4)
    assert made == {
        "id": made["id"], "name": "one", "ip_version": 4, "shared": False, "project_id": "red", "tenant_id": "red",
    }  # fmt: skip
    assert api.list("address-scopes") == [made]
    changed = api.update("address-scopes", made, name="two", shared=True)
    assert changed == {**made, "name": "two", "shared": True}
    assert api.show("address-scopes", made["id"]) == changed
    assert api.list("address-scopes", "shared=true") == [changed] and api.list("address-scopes", "shared=false") == []
    assert api.try_update("address-scopes", made, shared=False).error == (400, "AddressScopeUpdateError")
    assert api.try_update("address-scopes", made, ip_version=6).error == (400, "HTTPBadRequest")
    api.delete("address-scopes", made)
    assert api.ask("GET", f"address-scopes/{made['id']}").error == (404, "AddressScopeNotFound")


def test_pools_and_networks_tell_their_scope(api: Asker) -> None:
    scope = api.create("address-scopes", name="one", ip_version=4)
    pool = api.create("subnetpools", name="p", prefixes=["10.0.0.0/8"], address_scope_id=scope["id"])
    assert pool["address_scope_id"] == scope["id"]
    assert api.list("subnetpools", f"address_scope_id={scope['id']}") == [pool]
    network = api.network()
    assert (network["ipv4_address_scope"], network["ipv6_address_scope"]) == (None, None)
    api.create("subnets", network_id=network["id"], ip_version=4, subnetpool_id=pool["id"], prefixlen=24)
    network = api.show("networks", network["id"])
    assert (network["ipv4_address_scope"], network["ipv6_address_scope"]) == (scope["id"], None)
    assert api.try_delete("address-scopes", scope).error == (409, "AddressScopeInUse")
    refused = api.try_create("subnetpools", name="q", prefixes=["10.9.0.0/16"], address_scope_id=scope["id"])
    assert refused.error == (409, "AddressScopePrefixConflict")


def test_an_address_scope_needs_an_ip_version(api: Asker) -> None:
    assert api.try_create("address-scopes", name="one").error == (400, "HTTPBadRequest")
    assert api.try_create("address-scopes", name="one", ip_version=5).error == (400, "HTTPBadRequest")
    refused = api.try_create("subnetpools", name="p", prefixes=["10.0.0.0/8"], address_scope_id="foo")
    assert refused.error == (400, "HTTPBadRequest")


def test_a_policy_shares_a_scope_as_long_as_nobody_uses_it_by_that(api: Asker) -> None:
    scope = api.create("address-scopes", name="one", ip_version=4)
    body = {"object_type": "address_scope", "object_id": scope["id"], "action": "access_as_shared"}
    policy = api.ask("POST", "rbac-policies", {"rbac_policy": {**body, "target_tenant": "blue"}}).body["rbac_policy"]
    pool = api.create("subnetpools", name="p", prefixes=["10.0.0.0/8"], address_scope_id=scope["id"], project_id="blue")
    assert api.try_delete("rbac-policies", policy).error == (409, "RbacPolicyInUse")
    api.delete("subnetpools", pool)
    api.delete("rbac-policies", policy)
