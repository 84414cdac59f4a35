# SPDX-License-Identifier: Apache-2.0
"""Address groups through HTTP."""

from __future__ import annotations

from typing import Any

from .asker import Asker


def test_an_address_group_lives_from_create_to_delete(api: Asker) -> None:
    made = api.create("address-groups", name="one", addresses=["192.0.2.7/24"])
    assert (made["addresses"], made["description"], made["project_id"]) == (["192.0.2.0/24"], "", "red")
    assert api.list("address-groups") == [made]
    changed = api.update("address-groups", made, name="two", description="why")
    assert (changed["name"], changed["description"], changed["addresses"]) == ("two", "why", ["192.0.2.0/24"])
    assert changed["revision_number"] > made["revision_number"]
    assert api.try_update("address-groups", made, addresses=[]).error == (400, "HTTPBadRequest")
    api.delete("address-groups", made)
    assert api.ask("GET", f"address-groups/{made['id']}").error == (404, "AddressGroupNotFound")


def test_addresses_are_added_and_removed_by_actions(api: Asker) -> None:
    made = api.create("address-groups", name="one")
    path = f"address-groups/{made['id']}"
    answer = api.ask("PUT", f"{path}/add_addresses", {"addresses": ["192.0.2.7", "2001:db8::/64"]})
    assert answer.status == 200
    assert answer.body == {"address_group": api.show("address-groups", made["id"])}
    assert answer.body["address_group"]["addresses"] == ["192.0.2.7/32", "2001:db8::/64"]
    assert api.ask("PUT", f"{path}/add_addresses", {"addresses": ["192.0.2.7/32"]}).error == (
        400, "AddressesAlreadyExist",
    )  # fmt: skip
    answer = api.ask("PUT", f"{path}/remove_addresses", {"addresses": ["192.0.2.7"]})
    assert answer.body["address_group"]["addresses"] == ["2001:db8::/64"]
    assert api.ask("PUT", f"{path}/remove_addresses", {"addresses": ["192.0.2.7"]}).error == (404, "AddressesNotFound")
    bodies: list[Any] = [{"addresses": ["this is no address"]}, {"address": []}, [], {}]
    for body in bodies:
        for verb in ("add_addresses", "remove_addresses"):
            assert api.ask("PUT", f"{path}/{verb}", body).status == 400, body
    assert api.show("address-groups", made["id"])["addresses"] == ["2001:db8::/64"]


def test_an_action_needs_its_object_and_its_method(api: Asker) -> None:
    missing = "address-groups/6f1b5f2e-0000-4000-8000-000000000000/add_addresses"
    assert api.ask("PUT", missing, {"addresses": []}).error == (404, "AddressGroupNotFound")
    assert api.ask("GET", missing).status == 405
    assert api.ask("PUT", missing.replace("add_", "sort_"), {"addresses": []}).status == 404


def test_a_group_that_a_rule_names_is_in_use(api: Asker) -> None:
    made = api.create("address-groups", name="one", addresses=["192.0.2.0/24"])
    group = api.create("security-groups", name="web")
    rule = api.create("security-group-rules", security_group_id=group["id"], direction="ingress",
                      remote_address_group_id=made["id"])  # fmt: skip
    assert rule["remote_address_group_id"] == made["id"]
    assert api.list("security-group-rules", f"remote_address_group_id={made['id']}") == [rule]
    assert api.try_delete("address-groups", made).error == (409, "AddressGroupInUse")
    api.delete("security-group-rules", rule)
    api.delete("address-groups", made)
