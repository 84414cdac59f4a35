# SPDX-License-Identifier: Apache-2.0
"""Routers, their interfaces, gateways and routes, and what they mean for networks, subnets and ports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from portico.errors import PorticoError
from portico.model.snapshot import Snapshot
from portico.rules import TABLE
from portico.rules.context import Context
from portico.store.store import Store
from portico.store.transaction import Transaction

Row = dict[str, Any]
Make = Callable[..., Row]


class World:
    """One project's routers in one transaction."""

    def __init__(self, tx: Transaction, context: Context, create: Make, update: Make) -> None:
        self.tx, self.context, self._create, self._update = tx, context, create, update

    def make(self, resource: str, **body: Any) -> Row:
        return self._create(self.tx, self.context, resource, **body)

    def change(self, resource: str, row: Row, **body: Any) -> Row:
        return self.shown(resource, self._update(self.tx, self.context, resource, self.now(resource, row), **body))

    def delete(self, resource: str, row: Row) -> None:
        rule = TABLE[resource].delete
        assert rule is not None
        rule(self.tx, self.context, self.now(resource, row))

    def act(self, router: Row, name: str, **body: Any) -> Row:
        answer = TABLE["router"].actions[name](self.tx, self.context, self.now("router", router), body)
        assert isinstance(answer, dict)
        return answer if name.endswith("interface") else self.shown("router", answer)

    def now(self, resource: str, row: Row) -> Row:
        found = self.tx.get(resource, row["id"])
        assert found is not None
        return found

    def shown(self, resource: str, row: Row) -> Row:
        present = TABLE[resource].present
        return present(self.tx, self.context, [dict(row)])[0] if present else row

    def network(self, *cidrs: str, external: bool = False, backend: str = "bridge") -> tuple[Row, list[Row]]:
        net = self.make("network", name="n", **{"router:external": external, "portico:backend": backend})
        return net, [self.subnet(net, cidr) for cidr in cidrs]

    def subnet(self, network: Row, cidr: str, **body: Any) -> Row:
        return self.make("subnet", network_id=network["id"], cidr=cidr, ip_version=6 if ":" in cidr else 4, **body)

    def ports(self, router: Row) -> list[Row]:
        return self.tx.find("port", device_id=router["id"])

    def refused(self, act: Callable[..., object], *args: Any, **body: Any) -> tuple[int, str]:
        with pytest.raises(PorticoError) as caught:
            act(*args, **body)
        return caught.value.status, caught.value.type


@pytest.fixture
def as_admin(store: Store, admin: Context, create: Make, update: Make) -> Any:
    with store.write() as tx:
        yield World(tx, admin, create, update)


def test_a_router_has_the_gateway_address_of_each_of_its_subnets_and_each_network_once(as_admin: World) -> None:
    world = as_admin
    router = world.make("router", name="r")
    assert (router["status"], router["external_gateways"], router["routes"]) == ("ACTIVE", [], [])
    net, (v4, v6) = world.network("192.0.2.0/24", "2001:db8:1::/64")
    first = world.act(router, "add_router_interface", subnet_id=v4["id"])
    assert first["subnet_ids"] == [v4["id"]]
    assert first["network_id"] == net["id"]
    second = world.act(router, "add_router_interface", subnet_id=v6["id"])
    third = world.subnet(net, "2001:db8:2::/64")
    assert world.act(router, "add_router_interface", subnet_id=third["id"])["port_id"] == second["port_id"]
    ports = {row["id"]: row for row in world.ports(router)}
    assert [item["ip_address"] for item in ports[first["port_id"]]["fixed_ips"]] == ["192.0.2.1"]
    assert [i["ip_address"] for i in ports[second["port_id"]]["fixed_ips"]] == ["2001:db8:1::1", "2001:db8:2::1"]
    assert {row["device_owner"] for row in ports.values()} == {"network:router_interface"}
    gone = world.act(router, "remove_router_interface", subnet_id=v6["id"])
    assert gone["port_id"] == second["port_id"]
    assert [i["ip_address"] for i in world.now("port", {"id": second["port_id"]})["fixed_ips"]] == ["2001:db8:2::1"]
    world.act(router, "remove_router_interface", port_id=second["port_id"])
    world.act(router, "remove_router_interface", subnet_id=v4["id"], port_id=first["port_id"])
    assert world.ports(router) == []
    world.delete("router", router)


def test_interfaces_that_cannot_be_are_refused_as_neutron_does(as_admin: World) -> None:
    world = as_admin
    router = world.make("router")
    net, (inside,) = world.network("192.0.2.0/24")
    _, (overlapping,) = world.network("192.0.2.128/25")
    _, (routed,) = world.network("198.51.100.0/24", backend="routed")
    closed = world.subnet(world.network()[0], "203.0.113.0/24", gateway_ip=None)
    port = world.make("port", network_id=net["id"])
    bare = world.make("port", network_id=net["id"], fixed_ips=[])
    used = world.make("port", network_id=net["id"], device_id="vm")
    add, remove = "add_router_interface", "remove_router_interface"
    assert world.refused(world.act, router, add) == (400, "BadRequest")
    assert world.refused(world.act, router, add, subnet_id=inside["id"], port_id=port["id"]) == (400, "BadRequest")
    assert world.refused(world.act, router, add, subnet_id=closed["id"]) == (400, "BadRequest")
    assert world.refused(world.act, router, add, port_id=bare["id"]) == (400, "BadRequest")
    assert world.refused(world.act, router, add, port_id=used["id"]) == (409, "PortInUse")
    assert world.refused(world.act, router, add, subnet_id=net["id"]) == (404, "SubnetNotFound")
    assert world.refused(world.act, router, add, port_id=net["id"]) == (404, "PortNotFound")
    assert world.refused(world.act, router, remove, port_id=port["id"]) == (404, "RouterInterfaceNotFound")
    assert world.refused(world.act, router, remove, subnet_id=inside["id"]) == (404, "RouterInterfaceNotFoundForSubnet")
    world.act(router, add, port_id=port["id"])
    assert world.refused(world.act, router, add, port_id=port["id"]) == (409, "PortInUse")
    assert world.refused(world.act, router, add, subnet_id=inside["id"]) == (400, "BadRequest")
    assert world.refused(world.act, router, add, subnet_id=overlapping["id"]) == (400, "BadRequest")
    both = {"port_id": port["id"], "subnet_id": overlapping["id"]}
    assert world.refused(world.act, router, remove, **both) == (400, "SubnetMismatchForPort")
    with pytest.raises(PorticoError, match=f"{routed['network_id']}.*'routed'.*{net['id']}.*'bridge'") as mixed:
        world.act(router, add, subnet_id=routed["id"])
    assert mixed.value.status == 400
    assert world.refused(world.delete, "router", router) == (409, "RouterInUse")


def test_a_port_that_becomes_an_interface_is_on_no_host_and_stays_the_router_s(as_admin: World) -> None:
    world = as_admin
    router, other = world.make("router"), world.make("router")
    net, (subnet,) = world.network("192.0.2.0/24")
    port = world.make("port", network_id=net["id"], **{"binding:host_id": "h1"})
    world.act(router, "add_router_interface", port_id=port["id"])
    now = world.now("port", port)
    assert (now["device_id"], now["device_owner"]) == (router["id"], "network:router_interface")
    assert (now["binding:host_id"], now["binding:vif_type"], now["status"]) == ("", "unbound", "ACTIVE")
    for change in ({"device_id": ""}, {"device_owner": "compute:x"}, {"binding:host_id": "h1"}):
        assert world.refused(world.change, "port", port, **change) == (409, "PortInUse")
    world.change("port", port, name="leg")
    world.change("port", port, fixed_ips=[{"ip_address": "192.0.2.77"}])
    assert world.refused(world.delete, "port", port) == (409, "ServicePortInUse")
    assert world.refused(world.delete, "subnet", subnet) == (409, "SubnetInUse")
    assert world.refused(world.delete, "network", net) == (409, "NetworkInUse")
    whose = {"device_owner": "network:router_interface", "device_id": other["id"]}
    assert world.refused(world.make, "port", network_id=net["id"], **whose) == (400, "InvalidInput")
    free = world.make("port", network_id=net["id"])
    assert world.refused(world.change, "port", free, **whose) == (400, "InvalidInput")
    # Where there is no such router, the words mean nothing.
    alone = world.make("port", network_id=net["id"], **{**whose, "device_id": "elsewhere"})
    world.delete("port", alone)
    apart = world.subnet(net, "203.0.113.0/24")
    _, (overlapping,) = world.network("203.0.113.0/25")
    world.act(router, "add_router_interface", subnet_id=overlapping["id"])
    assert world.refused(world.change, "port", port, fixed_ips=[{"subnet_id": apart["id"]}]) == (400, "BadRequest")


def test_a_gateway_is_a_port_on_an_external_network(as_admin: World) -> None:
    world = as_admin
    net, (v4, v6) = world.network("203.0.113.0/24", "2001:db8:f::/64", external=True)
    router = world.shown("router", world.make("router", external_gateway_info={"network_id": net["id"]}))
    info = router["external_gateway_info"]
    assert (info["network_id"], info["enable_snat"]) == (net["id"], True)
    assert {item["subnet_id"] for item in info["external_fixed_ips"]} == {v4["id"], v6["id"]}
    (port,) = world.ports(router)
    assert (port["device_owner"], port["project_id"]) == ("network:router_gateway", "")
    assert port["fixed_ips"] == info["external_fixed_ips"]
    fixed = {"network_id": net["id"], "external_fixed_ips": [{"ip_address": "203.0.113.9"}], "enable_snat": False}
    moved = world.change("router", router, external_gateway_info=fixed)["external_gateway_info"]
    assert ([item["ip_address"] for item in moved["external_fixed_ips"]], moved["enable_snat"]) == (
        ["203.0.113.9"],
        False,
    )
    assert [row["id"] for row in world.ports(router)] == [port["id"]], "the same port"
    again = world.change("router", router, external_gateway_info={"network_id": net["id"]})["external_gateway_info"]
    assert (again["external_fixed_ips"], again["enable_snat"]) == (moved["external_fixed_ips"], True)
    world.change("router", router, name="x")
    assert world.ports(router), "what a change does not name stays"
    assert world.change("router", router, external_gateway_info={})["external_gateway_info"] is None
    assert world.ports(router) == []
    world.change("router", router, external_gateway_info={"network_id": net["id"]})
    world.delete("router", router)
    assert world.tx.find("port", network_id=net["id"]) == []


def test_gateways_that_cannot_be_are_refused_and_external_networks_in_use_stay(as_admin: World) -> None:
    world = as_admin
    net, (subnet,) = world.network("203.0.113.0/24", external=True)
    inner, (inside,) = world.network("192.0.2.0/24")
    overlapping, _ = world.network("192.0.0.0/16", external=True)
    router = world.make("router")
    world.act(router, "add_router_interface", subnet_id=inside["id"])

    def gateway(network: Row, **more: Any) -> tuple[int, str]:
        info = {"network_id": network["id"], **more}
        return world.refused(world.change, "router", router, external_gateway_info=info)

    assert gateway(inner) == (400, "BadRequest")
    assert gateway(overlapping) == (400, "BadRequest")
    assert gateway({"id": router["id"]}) == (404, "NetworkNotFound")
    assert gateway(net, external_fixed_ips=[{"ip_address": "203.0.113.1"}]) == (400, "BadRequest")
    assert gateway(net, external_fixed_ips=[{"ip_address": "192.0.2.9"}]) == (400, "InvalidIpForNetwork")
    world.change("router", router, external_gateway_info={"network_id": net["id"]})
    (port,) = [row for row in world.ports(router) if row["device_owner"] == "network:router_gateway"]
    assert world.refused(world.delete, "port", port) == (409, "ServicePortInUse")
    assert world.refused(world.delete, "subnet", subnet) == (409, "SubnetInUse")
    assert world.refused(world.delete, "network", net) == (409, "NetworkInUse")
    assert world.refused(world.change, "network", net, **{"router:external": False}) == (409, "ExternalNetworkInUse")
    world.change("router", router, external_gateway_info=None)
    world.change("network", net, **{"router:external": False})
    world.change("network", overlapping, **{"router:external": True})
    world.act(router, "remove_router_interface", subnet_id=inside["id"])
    world.change("router", router, external_gateway_info={"network_id": overlapping["id"]})
    (policy,) = world.tx.find("rbac_policy", object_id=overlapping["id"])
    assert world.refused(world.delete, "rbac_policy", policy) == (409, "ExternalNetworkInUse")


def test_a_new_subnet_of_an_external_network_gives_its_gateways_what_they_lack(as_admin: World) -> None:
    world = as_admin
    net, (v4,) = world.network("203.0.113.0/24", external=True)
    router = world.make("router", external_gateway_info={"network_id": net["id"]})
    world.subnet(net, "198.51.100.0/24")
    v6 = world.subnet(net, "2001:db8:f::/64")
    (port,) = world.ports(router)
    assert {item["subnet_id"] for item in port["fixed_ips"]} == {v4["id"], v6["id"]}


def test_a_subnet_s_gateway_stays_while_a_router_is_at_it(as_admin: World) -> None:
    world = as_admin
    _, (subnet,) = world.network("192.0.2.0/24")
    router = world.make("router")
    world.act(router, "add_router_interface", subnet_id=subnet["id"])
    pools = {"allocation_pools": [{"start": "192.0.2.100", "end": "192.0.2.200"}]}
    world.change("subnet", subnet, **pools)
    for gateway in ("192.0.2.2", None):
        assert world.refused(world.change, "subnet", subnet, gateway_ip=gateway) == (409, "GatewayIpInUse")
    world.change("subnet", subnet, gateway_ip="192.0.2.1")
    world.act(router, "remove_router_interface", subnet_id=subnet["id"])
    world.change("subnet", subnet, gateway_ip=None)


def test_routes_lead_to_next_hops_on_the_router_s_subnets_and_hold_these(as_admin: World) -> None:
    world = as_admin
    router = world.make("router")
    _, (subnet,) = world.network("192.0.2.0/24")
    far = {"destination": "198.51.100.0/24", "nexthop": "192.0.2.9"}
    assert world.refused(world.change, "router", router, routes=[far]) == (400, "InvalidRoutes")
    world.act(router, "add_router_interface", subnet_id=subnet["id"])
    own = {**far, "nexthop": "192.0.2.1"}
    assert world.refused(world.change, "router", router, routes=[own]) == (400, "InvalidRoutes")
    sixth = {**far, "destination": "2001:db8::/64"}
    assert world.refused(world.change, "router", router, routes=[sixth]) == (400, "InvalidRoutes")
    assert world.change("router", router, routes=[far])["routes"] == [far]
    other = {"destination": "203.0.113.0/255.255.255.0", "nexthop": "192.0.2.9"}
    plain = {**other, "destination": "203.0.113.0/24"}
    assert world.act(router, "add_extraroutes", routes=[far, other])["routes"] == [far, plain]
    assert world.act(router, "remove_extraroutes", routes=[far, own])["routes"] == [plain]
    remove = "remove_router_interface"
    in_use = (409, "RouterInterfaceInUseByRoute")
    assert world.refused(world.act, router, remove, subnet_id=subnet["id"]) == in_use
    many = [{"destination": f"198.51.100.{n}/32", "nexthop": "192.0.2.9"} for n in range(31)]
    limits = {"project_id": router["project_id"], "resource": "router_route", "limit": 30}
    world.tx.connection.execute(world.tx.tables.quota.insert(), limits)
    assert world.refused(world.change, "router", router, routes=many) == (409, "OverQuota")
    assert world.change("router", router, routes=None)["routes"] == []
    world.act(router, remove, subnet_id=subnet["id"])


def test_a_router_that_is_named_for_a_floating_ip_is_of_the_ports_backend(as_admin: World) -> None:
    world = as_admin
    net, _ = world.network("203.0.113.0/24", external=True)
    router = world.make("router", external_gateway_info={"network_id": net["id"]})
    other, _ = world.network("198.51.100.0/24", backend="routed")
    body = {"floating_network_id": net["id"], "router_id": router["id"]}
    mine = world.make("port", network_id=world.network("192.0.2.0/24")[0]["id"])
    assert world.make("floatingip", port_id=mine["id"], **body)["router_id"] == router["id"]
    port = world.make("port", network_id=other["id"])
    assert world.refused(world.make, "floatingip", port_id=port["id"], **body) == (400, "InvalidInput")


def test_a_gateway_stays_while_a_route_leads_to_its_network(as_admin: World) -> None:
    world = as_admin
    net, _ = world.network("203.0.113.0/24", external=True)
    router = world.make("router", external_gateway_info={"network_id": net["id"]})
    route = {"destination": "198.51.100.0/24", "nexthop": "203.0.113.254"}
    world.change("router", router, routes=[route])
    assert world.refused(world.change, "router", router, external_gateway_info={}) == (400, "InvalidRoutes")
    shown = world.change("router", world.now("router", router), external_gateway_info={}, routes=[])
    assert (shown["external_gateway_info"], shown["routes"]) == (None, [])


def test_several_gateways_are_told_apart_by_network_and_address(as_admin: World) -> None:
    world = as_admin
    net, _ = world.network("203.0.113.0/24", external=True)
    other, _ = world.network("198.51.100.0/24", external=True)
    router = world.make("router")
    one, two = {"network_id": net["id"]}, {"network_id": other["id"], "enable_snat": False}
    shown = world.act(router, "add_external_gateways", external_gateways=[one, two, one])
    gateways = shown["external_gateways"]
    assert [item["network_id"] for item in gateways] == [net["id"], other["id"], net["id"]]
    assert [item["enable_snat"] for item in gateways] == [True, False, True]
    assert shown["external_gateway_info"] == gateways[0]
    want = Snapshot()
    want.put("router", world.now("router", router))
    ports = {row["id"] for row in world.ports(router)}
    assert {gateway.port_id for gateway in want.routers[router["id"]].gateways} == ports
    remove, update = "remove_external_gateways", "update_external_gateways"
    ambiguous = (400, "UnableToMatchGateways")
    assert world.refused(world.act, router, remove, external_gateways=[one]) == ambiguous
    left = world.act(router, remove, external_gateways=[gateways[2]])["external_gateways"]
    assert left == gateways[:2]
    assert world.refused(world.act, router, remove, external_gateways=[gateways[2]]) == ambiguous
    swapped = world.act(router, update, external_gateways=[gateways[1], one])
    assert swapped["external_gateways"] == [gateways[1], gateways[0]]
    assert swapped["external_gateway_info"]["network_id"] == other["id"]
    assert len(world.act(router, update, external_gateways=[one])["external_gateways"]) == 1
    world.act(router, "add_external_gateways", external_gateways=[two])
    assert world.change("router", router, external_gateway_info=None)["external_gateways"] == []
    world.act(router, "add_external_gateways", external_gateways=[two])
    assert world.act(router, update, external_gateways=[])["external_gateways"] == []
    assert world.ports(router) == []


def test_what_is_shared_with_everybody_is_not_everybody_s_to_route(
    store: Store, admin: Context, create: Make, update: Make, make_member: Callable[[str], Context]
) -> None:
    with store.write() as tx:
        owner, red, blue = (World(tx, who, create, update) for who in (admin, make_member("red"), make_member("blue")))
        net, (subnet,) = owner.network("192.0.2.0/24")
        owner.change("network", net, shared=True)
        router = red.make("router")
        assert red.refused(red.act, router, "add_router_interface", subnet_id=subnet["id"]) == (400, "BadRequest")
        outside = red.make("port", network_id=net["id"])
        owner.change("subnet", subnet, allocation_pools=[{"start": "192.0.2.200", "end": "192.0.2.210"}])
        assert red.refused(red.act, router, "add_router_interface", port_id=outside["id"]) == (400, "BadRequest")
        whose = {"device_owner": "network:router_interface", "device_id": router["id"]}
        assert blue.refused(blue.make, "port", network_id=net["id"], **whose) == (409, "DeviceIDNotOwnedByTenant")
        policy = {"object_type": "network", "object_id": net["id"], "action": "access_as_shared"}
        owner.make("rbac_policy", target_tenant="red", **policy)
        red.act(router, "add_router_interface", subnet_id=subnet["id"])


def test_an_external_network_s_policy_stays_while_a_project_s_router_needs_it(
    store: Store, admin: Context, create: Make, update: Make, make_member: Callable[[str], Context]
) -> None:
    with store.write() as tx:
        owner, red = World(tx, admin, create, update), World(tx, make_member("red"), create, update)
        net, _ = owner.network("203.0.113.0/24")
        policy = {"object_type": "network", "object_id": net["id"], "action": "access_as_external"}
        mine = owner.make("rbac_policy", target_tenant="red", **policy)
        router = red.make("router", external_gateway_info={"network_id": net["id"]})
        assert owner.refused(owner.delete, "rbac_policy", mine) == (409, "RbacPolicyInUse")
        everybody = owner.make("rbac_policy", target_tenant="*", **policy)
        owner.delete("rbac_policy", mine)
        assert owner.refused(owner.delete, "rbac_policy", everybody) == (409, "RbacPolicyInUse")
        red.delete("router", router)
        owner.delete("rbac_policy", everybody)


def test_a_project_has_as_many_routers_as_its_quota_says(
    store: Store, create: Make, update: Make, make_context: Callable[..., Context]
) -> None:
    with store.write() as tx:
        world = World(tx, make_context(router=1), create, update)
        world.make("router")
        assert world.refused(world.make, "router") == (409, "OverQuota")
