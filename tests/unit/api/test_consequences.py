# SPDX-License-Identifier: Apache-2.0
"""What a request brings about besides what it asks for."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from portico.store.store import Store

from .asker import Asker, Row, addresses, singular

TAP = {"binding:host_id": "h1"}
SLAAC = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}


@pytest.fixture
def network(api: Asker) -> Row:
    return api.network("192.0.2.0/24")


def held(store: Store) -> int:
    """Return how many addresses ports hold, as the store's books have it."""
    with store.read() as tx:
        return tx.connection.execute(sa.select(sa.func.count()).select_from(tx.tables.address)).scalar_one()


@pytest.mark.parametrize("owner", ["network:router_interface", "network:ha_router_replicated_interface"])
def test_a_routers_port_gets_no_automatic_address_whichever_comes_first(api: Asker, network: Row, owner: str) -> None:
    early = api.port(network, device_owner=owner)
    api.subnet(network, "2001:db8::/64", **SLAAC)
    late = api.port(network, device_owner=owner)
    asked = api.port(network, device_owner=owner, fixed_ips=[{"ip_address": "192.0.2.77"}])
    for port in (early, late, asked):
        assert all(":" not in address for address in addresses(api.show("ports", port["id"])))
    assert addresses(api.update("ports", early, fixed_ips=[{"ip_address": "192.0.2.78"}])) == ["192.0.2.78"]


def test_the_dhcp_server_of_a_network_goes_with_its_last_subnet(api: Asker, store: Store) -> None:
    network = api.create("networks")
    subnet = api.subnet(network, "192.0.2.0/24")
    port = api.port(network, fixed_ips=[], **TAP)
    (server,) = api.list("ports", "device_owner=network:dhcp")
    assert held(store) == 1
    api.delete("subnets", subnet)
    assert api.try_delete("ports", server).error == (404, "PortNotFound")
    assert [row["id"] for row in api.list("ports")] == [port["id"]] and held(store) == 0


def test_a_network_takes_its_dhcp_server_and_all_addresses_along(api: Asker, store: Store, network: Row) -> None:
    # Portico's own server goes with the last workload; one that somebody made is there until the end.
    server = api.create("ports", network_id=network["id"], device_owner="network:dhcp")
    assert held(store) == 1
    api.delete("networks", network)
    assert api.list("ports") == [] and held(store) == 0
    assert api.try_delete("ports", server).error == (404, "PortNotFound")
    with store.read() as tx:
        assert tx.used("port", "red") == tx.used("subnet", "red") == tx.used("network", "red") == 0


def test_the_quota_of_a_pool_is_that_of_the_subnets_own_project(api: Asker) -> None:
    pool = api.create("subnetpools", name="p", prefixes=["10.0.0.0/16"], default_prefixlen=24, default_quota=256)
    body = {"ip_version": 4, "subnetpool_id": pool["id"]}
    for project in ("blue", "red"):
        network = api.create("networks", project_id=project)
        made = api.create("subnets", network_id=network["id"], project_id=project, **body)
        assert made["project_id"] == project
        answer = api.try_create("subnets", network_id=network["id"], project_id=project, **body)
        assert answer.error == (409, "SubnetPoolQuotaExceeded"), project


def test_rules_of_one_bulk_request_are_of_one_group(api: Asker) -> None:
    groups = [api.create("security-groups", name=name)["id"] for name in ("a", "b")]
    rules = [{"security_group_id": group, "direction": "ingress"} for group in groups]
    before = len(api.list("security-group-rules"))
    answer = api.ask("POST", "security-group-rules", {"security_group_rules": rules})
    assert answer.error == (400, "SecurityGroupNotSingleGroupRules") and all(
        group in answer.message for group in groups
    )
    assert len(api.list("security-group-rules")) == before


def test_a_list_of_rules_shows_those_of_the_default_group_too(api: Asker) -> None:
    rules = api.list("security-group-rules")
    (group,) = api.list("security-groups")
    assert group["name"] == "default"
    assert len(rules) == 4 and {rule["security_group_id"] for rule in rules} == {group["id"]}


@pytest.mark.parametrize("collection", ["networks", "subnets", "subnetpools", "ports", "security-groups"])
def test_tags_go_with_their_object(api: Asker, store: Store, network: Row, collection: str) -> None:
    values: dict[str, Row] = {
        "subnets": {"network_id": network["id"], "ip_version": 4, "cidr": "198.51.100.0/24"},
        "subnetpools": {"name": "p", "prefixes": ["192.0.2.0/24"]},
        "ports": {"network_id": network["id"]},
        "security-groups": {"name": "g"},
    }
    made = api.create(collection, **values.get(collection, {}))

    def tags() -> list[tuple[str, str]]:
        with store.read() as tx:
            tag = tx.tables.tag
            rows = tx.connection.execute(sa.select(tag.c.resource, tag.c.tag).where(tag.c.id == made["id"])).all()
            return sorted((row.resource, row.tag) for row in rows)

    api.ask("PUT", f"{collection}/{made['id']}/tags", {"tags": ["a", "b"]})
    resource = singular(collection)
    assert tags() == [(resource, "a"), (resource, "b")]
    api.delete(collection, made)
    assert tags() == []
