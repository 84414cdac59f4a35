# SPDX-License-Identifier: Apache-2.0
"""A small world with routers, as the API would let them be. Pure.

Networks 0 and 1 have the same subnets, 2 and 3 have others, and so on: of two that overlap a router takes the first.
The interface on a network's subnet has its gateway's address; a gateway is on the network that `PutRouter` names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from portico.model.l3 import FLOATING_OWNER, GATEWAY_OWNER, INTERFACE_OWNER
from portico.testing.world import PROJECT, Changed, Edit, PutPort, Row, World, object_id, port_row

_KINDS = {"router": 0x7, "interface": 0x8, "gateway": 0x9, "floatingip": 0x6, "own": 0xA}

_FORWARDED = ((5, "tcp", "8000:8000", "80:80"), (4, "udp", "8000:8001", "8000:8001"), (3, "tcp", "8100:8101", "79:80"))

OUTSIDE = 4
"""The network that gateways are on."""


@dataclass(frozen=True, slots=True)
class PutRouter:
    """Make or change a router; `networks` None removes it.

    `floating` are ports that have a floating IP by it, `forwarded` those some of whose ports a floating IP leads to,
    `published` those whose port 80 is that of a host, too.
    """

    number: int
    networks: tuple[int, ...] | None
    outside: bool = False
    snat: bool = True
    admin_up: bool = True
    floating: tuple[int, ...] = ()
    forwarded: tuple[int, ...] = ()
    published: tuple[int, ...] = ()


def l3_id(kind: str, number: int) -> str:
    """Return the id of a router, of one of its ports, or of a floating IP, which has its port's number."""
    return f"{_KINDS[kind]:x}{number:07x}-0000-4000-8000-{number:012x}"


class RouterWorld(World):
    """A world in which networks can be joined by routers."""

    outside_type = "flat"
    """The type of the network that gateways are on."""
    tagged: tuple[int, ...] = ()
    """Those of the other networks that are on the physical network "lab"."""

    def __init__(self) -> None:
        super().__init__()
        self._wished: dict[int, PutRouter] = {}

    def apply(self, *edits: Edit | PutRouter) -> Changed:
        """Make edits; return the ids of what changed, by resource, as the journal would."""
        changed: Changed = {}
        for edit in edits:
            if isinstance(edit, PutRouter):
                self._history.append(edit)  # type: ignore[arg-type]
                self._wished[edit.number] = edit
            else:
                for resource, ids in super().apply(edit).items():
                    changed.setdefault(resource, set()).update(ids)
            self._settle_routers(changed)
        return changed

    def routed(self) -> RouterWorld:
        """Return a world with the same history where all networks are routed, the one outside too."""
        (again := _RoutedWorld()).apply(*self._history)
        return again

    def _put(self, resource: str, row: Row, changed: Changed) -> None:
        placed = _placed(resource, row, self.outside_type)
        if resource == "network" and (number := int(row["id"][-12:])) in self.tagged:
            tag = {"provider:physical_network": "lab", "provider:segmentation_id": number}
            placed = {**placed, "provider:network_type": "vlan", **tag}
        super()._put(resource, placed, changed)

    def put_host(self, name: str, *physical_networks: str, zone: str = "") -> Changed:
        """Have the agent of a host tell of its physical networks, and of its availability zone."""
        changed: Changed = {}
        told = {"interface_mappings": dict.fromkeys(physical_networks, "eth1")}
        row = {"id": f"agent of {name}", "host": name, "configurations": told, "availability_zone": zone}
        self._put("agent", row, changed)
        return changed

    def _settle_routers(self, changed: Changed) -> None:
        rows = dict(_rows(self._wished, self.rows))
        for (resource, _), row in rows.items():
            super()._put(resource, row, changed)
        for resource in ("port_forwarding", "floatingip", "router", "port"):
            for row in list(self.rows[resource].values()):
                owned = resource != "port" or row["device_owner"].startswith("network:router") or _is_floating(row)
                if owned and (resource, row["id"]) not in rows:
                    self._drop(resource, row["id"], changed)


class HostWorld(RouterWorld):
    """A world whose routers have their gateways behind the host."""

    outside_type = "host"


class _RoutedWorld(RouterWorld):
    """A world in which no two networks have the same subnets."""

    def __init__(self) -> None:
        super().__init__()
        self._is_routed = True

    def _put(self, resource: str, row: Row, changed: Changed) -> None:
        is_outside = resource == "network" and row["id"] == object_id("network", OUTSIDE)
        super(RouterWorld, self)._put(resource, row | {"router:external": True} if is_outside else row, changed)


def put_in_scopes(world: World, scopes: Mapping[int, str]) -> None:
    """Let the subnets of networks be from pools of these address scopes; "" is none."""
    for number, scope in scopes.items():
        pool = object_id("subnet", number).replace("-4000-", "-5000-")
        world.rows["subnetpool"][pool] = {"id": pool, "address_scope_id": scope or None}
        for key, row in world.rows["subnet"].items():
            if row["network_id"] == object_id("network", number):
                world.rows["subnet"][key] = {**row, "subnetpool_id": pool}


def put_at_interface(world: World) -> str:
    """Give port 0, behind router 0, a floating IP of network 2, on which that has an interface; return its id."""
    network_id, port = object_id("network", 2), world.rows["port"][object_id("port", 0)]
    nets = (row["cidr"] for row in world.rows["subnet"].values() if row["network_id"] == network_id)
    floating_id = l3_id("floatingip", 9)
    world.rows["network"][network_id]["router:external"] = True
    world.rows["floatingip"][floating_id] = {
        "id": floating_id,
        "floating_ip_address": str(next(ip_network(cidr) for cidr in nets if ":" not in cidr)[209]),
        "floating_network_id": network_id,
        "router_id": l3_id("router", 0),
        "port_id": port["id"],
        "fixed_ip_address": next(ip["ip_address"] for ip in port["fixed_ips"] if ":" not in ip["ip_address"]),
    }
    return floating_id


def _is_floating(row: Row) -> bool:
    return bool(row["device_owner"] == FLOATING_OWNER)


def _placed(resource: str, row: Row, outside_type: str) -> Row:
    """Return a row as it is where pairs of networks have the same subnets, and the one outside is everywhere."""
    if resource == "network" and row["id"] == object_id("network", OUTSIDE):
        return row | {"provider:network_type": outside_type, "router:external": True}
    if resource not in ("subnet", "port") or row.get("device_owner", "").startswith("network:r"):
        return row
    number = int(row["network_id"][-12:])
    own = (
        {"gateway_ip": _moved("192.0.2.1", number) if ":" not in row["cidr"] else _moved("2001:db8:0:1::1", number)}
        if resource == "subnet" and number > 1
        else {}
    )
    if resource == "subnet":
        return {**row, "cidr": _moved(row["cidr"], number), **own}
    return row | {"fixed_ips": [ip | {"ip_address": _moved(ip["ip_address"], number)} for ip in row["fixed_ips"]]}


def _moved(text: str, network: int) -> str:
    place = network // 2
    return text.replace("192.0.2.", f"198.18.{place}.").replace(":db8:0:1:", f":db8:1:{place:x}:") if place else text


def _rows(
    wished: Mapping[int, PutRouter], rows: Mapping[str, Mapping[str, Row]]
) -> Iterator[tuple[tuple[str, str], Row]]:
    """Yield everything that routers bring about."""
    given: set[int] = set()
    for number, wish in sorted(wished.items()):
        if wish.networks is None:
            continue
        router_id = l3_id("router", number)
        taken: list[Any] = []
        inside = []
        for network in wish.networks:
            subnets = [row for row in rows["subnet"].values() if row["network_id"] == object_id("network", network)]
            for subnet in sorted(subnets, key=lambda row: str(row["id"])) if network != OUTSIDE else ():
                net = ip_network(subnet["cidr"])
                if not any(net.version == other.version and net.overlaps(other) for other in taken):
                    taken.append(net)
                    inside.append(network)
                    name = 64 * number + 8 * network + (4 if net.version == 4 else 6)
                    first = str(net[1 + number])
                    yield _port("interface", name, INTERFACE_OWNER, router_id, network, {subnet["id"]: first})
        outer = [row for row in rows["subnet"].values() if row["network_id"] == object_id("network", OUTSIDE)]
        outer.sort(key=lambda row: ":" in row["cidr"])
        gateway = next((row for row in outer if ":" not in row["cidr"]), None) if wish.outside else None
        if gateway is not None:
            found_there = _addresses(outer, 100 + number)
            yield _port("gateway", number, GATEWAY_OWNER, router_id, OUTSIDE, found_there)
            for port in (*wish.floating, *wish.forwarded, *wish.published):
                found = _floating(router_id, port, inside, gateway, rows)
                if found is not None and port not in given:
                    given.add(port)
                    is_published = port in wish.published
                    yield from (found,) if port in wish.floating else _forwarded(*found, is_published, len(outer) > 1)
                    if is_published:
                        own = _addresses(outer, 200 + port)
                        yield _port("own", port, FLOATING_OWNER, found[0][1], OUTSIDE, own)
        yield ("router", router_id), _router(router_id, wish, gateway is not None)


def _addresses(subnets: list[Row], number: int) -> dict[str, str]:
    """Return an address of each subnet, by the subnet's id."""
    return {row["id"]: str(ip_network(row["cidr"])[number]) for row in subnets}


def _router(router_id: str, wish: PutRouter, has_gateway: bool) -> Row:
    gateway = {"network_id": object_id("network", OUTSIDE), "enable_snat": wish.snat} if has_gateway else None
    return {
        "id": router_id,
        "project_id": PROJECT,
        "name": "",
        "admin_state_up": wish.admin_up,
        "external_gateway_info": gateway,
        "routes": [],
    }


def _port(
    kind: str, number: int, owner: str, device_id: str, network: int, addresses: Mapping[str, str]
) -> tuple[tuple[str, str], Row]:
    row = port_row(PutPort(0, network, host="", port_security=False))
    digits = f"{0x40 + number:04x}"
    row |= {
        "id": l3_id(kind, number),
        "mac_address": f"00:00:5e:10:{digits[:2]}:{digits[2:]}",
        "fixed_ips": [{"subnet_id": subnet_id, "ip_address": address} for subnet_id, address in addresses.items()],
        "device_owner": owner,
        "device_id": device_id,
    }
    return ("port", row["id"]), row


def _floating(
    router_id: str, port: int, inside: list[int], gateway: Row, rows: Mapping[str, Mapping[str, Row]]
) -> tuple[tuple[str, str], Row] | None:
    row = rows["port"].get(object_id("port", port))
    if row is None or int(row["network_id"][-12:]) not in inside:
        return None
    fixed = next((ip["ip_address"] for ip in row["fixed_ips"] if ":" not in ip["ip_address"]), None)
    if fixed is None:
        return None
    floating_id = l3_id("floatingip", port)
    return ("floatingip", floating_id), {
        "id": floating_id,
        "floating_ip_address": str(ip_network(gateway["cidr"])[200 + port]),
        "floating_network_id": gateway["network_id"],
        "router_id": router_id,
        "port_id": row["id"],
        "fixed_ip_address": fixed,
    }


def _forwarded(
    key: tuple[str, str], row: Row, published: bool, with_ipv6: bool
) -> Iterator[tuple[tuple[str, str], Row]]:
    """Yield a floating IP that stands for nobody as a whole, and its ports that lead to what it stood for."""
    yield key, {**row, "port_id": None, "fixed_ip_address": None}
    hosts = ["0.0.0.0", "::"][: 2 if with_ipv6 else 1] if published else []  # noqa: S104 (words of the API)
    for number, protocol, external, internal in _FORWARDED[: 1 if published else None]:
        forwarding_id = f"{number}{key[1][1:]}"
        yield (
            ("port_forwarding", forwarding_id),
            {
                "id": forwarding_id,
                "floatingip_id": row["id"],
                "protocol": protocol,
                "external_port_range": external,
                "internal_port_range": internal,
                "internal_port_id": row["port_id"],
                "internal_ip_address": row["fixed_ip_address"],
                "portico:host_addresses": hosts,
            },
        )
