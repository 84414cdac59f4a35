# SPDX-License-Identifier: Apache-2.0
"""A small world of networks, ports and groups that changes as the API would change it. Pure.

Everything goes by small numbers, from which ids and addresses follow. All networks have the same subnets, for there
backends fail. An edit that makes no sense where it is applied does nothing, so any sequence is valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portico.model.snapshot import DHCP_OWNER, RESOURCES, Snapshot
from portico.testing.routed_world import routed_row

PROJECT = "acme"
HOSTS = ("host-a", "host-b")
CIDRS = {4: "192.0.2.0/24", 6: "2001:db8:0:1::/64"}
PAIRS = (
    ("192.0.2.200/32", "00:00:5e:00:53:fe"),
    ("192.0.2.11/32", None),
    ("198.51.100.0/28", None),
    ("198.51.100.0/30", "00:00:5e:00:53:fe"),
    ("2001:db8:0:1::c8/128", "00:00:5e:00:53:fe"),
    ("2001:db8:ff::/64", None),
)
"""What ports may send from besides their addresses: one that several share, somebody else's, ranges."""

Row = dict[str, Any]
Changed = dict[str, set[str]]


@dataclass(frozen=True, slots=True)
class PutNetwork:
    """Make or change a network."""

    number: int
    admin_up: bool = True
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class PutSubnet:
    """Make or change the subnet of one IP version of a network; `ra_mode` is for version 6."""

    network: int
    version: int
    enable_dhcp: bool = True
    ra_mode: str | None = None


@dataclass(frozen=True, slots=True)
class PutGroup:
    """Make or change a security group."""

    number: int
    stateful: bool = True


@dataclass(frozen=True, slots=True)
class PutAddressGroup:
    """Make or change an address group."""

    number: int
    cidrs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PutRule:
    """Make or change a rule of `group`; of several remotes, a group counts, and of these a security group."""

    number: int
    group: int
    direction: str = "ingress"
    ethertype: str = "IPv4"
    protocol: str | None = None
    port_min: int | None = None
    port_max: int | None = None
    remote_cidr: str | None = None
    remote_group: int | None = None
    remote_addresses: int | None = None


@dataclass(frozen=True, slots=True)
class PutPort:
    """Make or change a port. `versions`: of its addresses; `pairs`: positions in `PAIRS`; `host`: "" for unbound.

    Without port security it has neither groups nor pairs: Neutron refuses them. `standby` is another host that is
    ready for it; the link of a `steady` one stays up whatever happens.
    """

    number: int
    network: int
    host: str = HOSTS[0]
    versions: tuple[int, ...] = (4, 6)
    groups: tuple[int, ...] = ()
    pairs: tuple[int, ...] = ()
    port_security: bool = True
    admin_up: bool = True
    plug: str = "veth"
    standby: str = ""
    steady: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove an object, and what cannot be without it."""

    resource: str
    number: int


@dataclass(frozen=True, slots=True)
class MoveServer:
    """Give a network another DHCP server port."""

    network: int


Edit = PutNetwork | PutSubnet | PutGroup | PutAddressGroup | PutRule | PutPort | Drop | MoveServer

_KINDS = {
    "network": 0xA,
    "subnet": 0x5,
    "port": 0xB,
    "server": 0xE,
    "security_group": 0xC,
    "security_group_rule": 0xD,
    "address_group": 0xF,
}


def object_id(kind: str, number: int) -> str:
    """Return the id of an object; ids differ within their first 11 characters, which link names are made from."""
    return f"{_KINDS[kind]:x}{number:07x}-0000-4000-8000-{number:012x}"


def mac(number: int) -> str:
    """Return a port's MAC address (RFC 7042 section 2.1.1)."""
    return f"00:00:5e:00:53:{number:02x}"


def address(number: int, version: int) -> str:
    """Return the address with a number: a port's is the sum of its own and its network's, so that networks overlap."""
    return f"192.0.2.{10 + number}" if version == 4 else f"2001:db8:0:1::{10 + number:x}"


class World:
    """Rows in the API's shape, by resource and id. In a `routed` one each network has subnets of its own."""

    def __init__(self, *, routed: bool = False) -> None:
        self._is_routed = routed
        self.rows: dict[str, dict[str, Row]] = {resource: {} for resource in RESOURCES}
        self._history: list[Edit] = []
        self._servers = 0

    def __repr__(self) -> str:
        """Return what makes this world again: `World().apply(*history)`."""
        return f"World {self._history}"

    def routed(self) -> World:
        """Return a routed world with the same history."""
        (again := World(routed=True)).apply(*self._history)
        return again

    def snapshot(self) -> Snapshot:
        """Return everything as a new snapshot."""
        want = Snapshot()
        for resource, rows in self.rows.items():
            for row in rows.values():
                want.put(resource, row)
        return want

    def update(self, want: Snapshot, changed: Mapping[str, set[str]]) -> None:
        """Bring `want` up to date, given what `apply` returned since, as the broker does."""
        for resource, ids in changed.items():
            for changed_id in ids:
                row = self.rows[resource].get(changed_id)
                if row is None:
                    want.remove(resource, changed_id)
                else:
                    want.put(resource, row)

    def apply(self, *edits: Edit) -> Changed:
        """Make edits; return the ids of what changed, by resource, as the journal would."""
        changed: Changed = {}
        self._history += edits
        for edit in edits:
            self._apply(edit, changed)
            for network_id in list(self.rows["network"]):
                self._settle_server(network_id, changed)
        return changed

    def _apply(self, edit: Edit, changed: Changed) -> None:
        match edit:
            case PutNetwork():
                row = network_row(object_id("network", edit.number), admin_up=edit.admin_up, mtu=edit.mtu)
                self._put("network", row, changed)
            case PutSubnet() if object_id("network", edit.network) in self.rows["network"]:
                self._put("subnet", subnet_row(edit), changed)
            case PutGroup():
                row = {"id": object_id("security_group", edit.number), "project_id": PROJECT, "stateful": edit.stateful}
                self._put("security_group", row, changed)
            case PutAddressGroup():
                row = {"id": object_id("address_group", edit.number), "addresses": list(edit.cidrs)}
                self._put("address_group", row, changed)
            case PutRule() if object_id("security_group", edit.group) in self.rows["security_group"]:
                self._put_rule(edit, changed)
            case PutPort() if object_id("network", edit.network) in self.rows["network"]:
                self._put("port", self._port_row(edit), changed)
            case Drop():
                self._drop(edit.resource, object_id(edit.resource, edit.number), changed)
            case MoveServer():
                for server in self._servers_of(object_id("network", edit.network)):
                    self._drop("port", server["id"], changed)

    def _put(self, resource: str, row: Row, changed: Changed) -> None:
        if self._is_routed:
            row = routed_row(resource, row)
        if self.rows[resource].get(row["id"]) != row:
            self.rows[resource][row["id"]] = row
            changed.setdefault(resource, set()).add(row["id"])

    def _put_rule(self, edit: PutRule, changed: Changed) -> None:
        row = rule_row(edit)
        for kind, remote in (
            ("security_group", row["remote_group_id"]),
            ("address_group", row["remote_address_group_id"]),
        ):
            if remote is not None and remote not in self.rows[kind]:
                return
        before = self.rows["security_group_rule"].get(object_id("security_group_rule", edit.number))
        self._put("security_group_rule", row, changed)
        for touched in (before, row):
            if touched is not None:
                changed.setdefault("security_group", set()).add(touched["security_group_id"])

    def _port_row(self, edit: PutPort) -> Row:
        network_id = object_id("network", edit.network)
        subnets = [subnet_id(edit.network, version) for version in edit.versions]
        groups = [object_id("security_group", number) for number in edit.groups]
        return port_row(edit) | {
            "fixed_ips": [
                {"subnet_id": subnet, "ip_address": address(edit.number + edit.network, version)}
                for subnet, version in zip(subnets, edit.versions, strict=True)
                if subnet in self.rows["subnet"]
            ],
            "network_id": network_id,
            "security_groups": [item for item in groups if item in self.rows["security_group"] and edit.port_security],
        }

    def _drop(self, resource: str, dropped: str, changed: Changed) -> None:
        rules = self.rows["security_group_rule"].values()
        if resource == "address_group" and any(rule["remote_address_group_id"] == dropped for rule in rules):
            return  # in use
        row = self.rows[resource].pop(dropped, None)
        if row is None:
            return
        changed.setdefault(resource, set()).add(dropped)
        match resource:
            case "network":
                self._drop_where("port", "network_id", dropped, changed)
                self._drop_where("subnet", "network_id", dropped, changed)
            case "subnet":
                self._strip_ports("fixed_ips", lambda item: item["subnet_id"] == dropped, changed)
            case "security_group":
                self._strip_ports("security_groups", lambda item: item == dropped, changed)
                self._drop_where("security_group_rule", "security_group_id", dropped, changed)
                self._drop_where("security_group_rule", "remote_group_id", dropped, changed)
            case "security_group_rule":
                changed.setdefault("security_group", set()).add(row["security_group_id"])

    def _drop_where(self, resource: str, attribute: str, value: str, changed: Changed) -> None:
        for row in [row for row in self.rows[resource].values() if row[attribute] == value]:
            self._drop(resource, row["id"], changed)

    def _strip_ports(self, attribute: str, is_gone: Any, changed: Changed) -> None:
        for row in list(self.rows["port"].values()):
            kept = [item for item in row[attribute] if not is_gone(item)]
            self._put("port", {**row, attribute: kept}, changed)

    def _servers_of(self, network_id: str) -> list[Row]:
        ports = self.rows["port"].values()
        return [row for row in ports if row["network_id"] == network_id and row["device_owner"] == DHCP_OWNER]

    def _settle_server(self, network_id: str, changed: Changed) -> None:
        """Keep a DHCP server port while a bound port is plugged by tap and a subnet wants one, as `rules.dhcp` does."""
        served = any(
            row["binding:host_id"] and row["binding:profile"]["plug"] == "tap"
            for row in self.rows["port"].values()
            if row["network_id"] == network_id and row["device_owner"] != DHCP_OWNER
        )
        subnets = [row for row in self.rows["subnet"].values() if row["network_id"] == network_id]
        wanted = [row for row in subnets if row["enable_dhcp"] and (":" not in row["cidr"] or row["ipv6_ra_mode"])]
        servers = self._servers_of(network_id)
        if not served:
            for server in servers:
                self._drop("port", server["id"], changed)
        elif servers or wanted:
            self._put("port", self._server_row(servers, network_id, wanted), changed)

    def _server_row(self, servers: list[Row], network_id: str, subnets: list[Row]) -> Row:
        if not servers:
            self._servers += 1
        edit = PutPort(200, 0, host="", port_security=False)
        return port_row(edit) | {
            "id": servers[0]["id"] if servers else object_id("server", self._servers),
            "network_id": network_id,
            "device_owner": DHCP_OWNER,
            "fixed_ips": [
                {"subnet_id": row["id"], "ip_address": address(200, 6 if ":" in row["cidr"] else 4)} for row in subnets
            ],
        }


def subnet_id(network: int, version: int) -> str:
    """Return the id of a network's subnet of one IP version."""
    return object_id("subnet", 16 * network + version)


def network_row(network_id: str, *, admin_up: bool = True, mtu: int = 1500) -> Row:
    """Return a network of type `local`."""
    return {
        "id": network_id,
        "project_id": PROJECT,
        "name": "",
        "mtu": mtu,
        "admin_state_up": admin_up,
        "provider:network_type": "local",
        "provider:physical_network": None,
        "provider:segmentation_id": None,
        "dns_domain": "example.org.",
    }


def subnet_row(edit: PutSubnet) -> Row:
    """Return the subnet that an edit asks for."""
    ra_mode = edit.ra_mode if edit.version == 6 else None
    return {
        "id": subnet_id(edit.network, edit.version),
        "network_id": object_id("network", edit.network),
        "cidr": CIDRS[edit.version],
        "gateway_ip": None,
        "enable_dhcp": edit.enable_dhcp,
        "dns_nameservers": [],
        "host_routes": [],
        "ipv6_ra_mode": ra_mode,
        "ipv6_address_mode": ra_mode,
    }


def rule_row(edit: PutRule) -> Row:
    """Return the rule that an edit asks for."""
    group = None if edit.remote_group is None else object_id("security_group", edit.remote_group)
    addresses = None if edit.remote_addresses is None else object_id("address_group", edit.remote_addresses)
    return {
        "id": object_id("security_group_rule", edit.number),
        "security_group_id": object_id("security_group", edit.group),
        "direction": edit.direction,
        "ethertype": edit.ethertype,
        "protocol": edit.protocol,
        "port_range_min": edit.port_min,
        "port_range_max": edit.port_max,
        "remote_ip_prefix": None if group or addresses else edit.remote_cidr,
        "remote_group_id": group,
        "remote_address_group_id": None if group else addresses,
    }


def port_row(edit: PutPort) -> Row:
    """Return the port that an edit asks for, without the addresses and groups that depend on what exists."""
    pairs = [PAIRS[position] for position in edit.pairs if edit.port_security]
    return {
        "id": object_id("port", edit.number),
        "project_id": PROJECT,
        "network_id": object_id("network", edit.network),
        "name": "",
        "mac_address": mac(edit.number),
        "fixed_ips": [],
        "admin_state_up": edit.admin_up,
        "port_security_enabled": edit.port_security,
        "security_groups": [],
        "allowed_address_pairs": [{"ip_address": cidr, "mac_address": own or mac(edit.number)} for cidr, own in pairs],
        "binding:host_id": edit.host,
        "binding:profile": {"plug": edit.plug},
        "binding:vnic_type": "normal",
        "propagate_uplink_status": not edit.steady,
        "inactive_bindings": [_binding(edit.standby, edit.plug)] if edit.standby not in ("", edit.host) else [],
        "device_owner": "compute:test",
        "device_id": "",
        "dns_name": "",
        "dns_domain": "",
        "extra_dhcp_opts": [],
    }


def _binding(host: str, plug: str) -> Row:
    """Return a binding that is not active."""
    return {"host": host, "vnic_type": "normal", "profile": {"plug": plug}, "vif_type": plug, "vif_details": {}}
