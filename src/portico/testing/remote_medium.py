# SPDX-License-Identifier: Apache-2.0
"""The neutron backend on a second Portico, whose store, broker and agents' kernels are looked at behind its back."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import Any

import msgspec

from portico.backends.neutron import NeutronBackend
from portico.backends.neutron.plan import Signs
from portico.backends.neutron.remote import Refused, Row
from portico.broker.hosts import HostStates
from portico.contract import Backend, Dirty, ObjectStatus
from portico.model.snapshot import Snapshot, Subnet
from portico.settings_neutron import NeutronSettings
from portico.testing.bridge_medium import delivers
from portico.testing.faults import Faults, Outcome
from portico.testing.remote_portico import KINDS, URL, InProcessRemote, RemotePortico
from portico.trace.packet import Packet

SETTINGS = NeutronSettings(endpoint=URL, send_profile=True, overhead=0)
SIGNS = Signs(SETTINGS.tag)
# What depends on when and in which order things were made, or is named by ids of the remote.
_HISTORY = ("id", "revision_number", "created_at", "updated_at", "status", "standard_attr_id", "binding:vif_details")


class FaultyRemote(InProcessRemote):
    """A remote whose writes may be refused, or acknowledged and lost."""

    def __init__(self, portico: RemotePortico, faults: Faults) -> None:
        super().__init__(portico, SETTINGS)
        self._faults = faults
        self._ours: dict[str, str] = {}

    def _send(self, method: str, path: str, body: Any = None, query: list[tuple[str, str]] | None = None) -> Row:
        if method == "GET":
            return self._learn(super()._send(method, path, body, query))
        subject = " ".join([method, *(self._ours.get(word, word) for word in path.split("/")), str(body)])
        match self._faults.write(subject):
            case Outcome.REFUSED:
                raise Refused(f"{method} {path} is refused")
            case Outcome.LOST if method == "POST":
                content = self._learn(super()._send(method, path, body, query))
                for row in content.values():
                    super()._send("DELETE", f"{path}/{row['id']}")
                return content
            case Outcome.LOST:
                return self._learn({"lost": super()._send("GET", "/".join(path.split("/")[:3])).popitem()[1]})
        return self._learn(super()._send(method, path, body, query))

    def _learn(self, content: Row) -> Row:
        for value in content.values():
            for row in value if isinstance(value, list) else [value]:
                if isinstance(row, dict) and "id" in row:
                    self._ours[row["id"]] = SIGNS.read(row)
        return content


class _Remembering(NeutronBackend):
    """Keeps what was wanted last, for the look that the broker would have it take a few seconds later."""

    want = Snapshot()

    def sync(self, want: Snapshot, dirty: Dirty) -> Iterable[ObjectStatus]:
        self.want = _as_an_api_allows(want)
        return super().sync(self.want, dirty)


def _as_an_api_allows(want: Snapshot) -> Snapshot:
    """Return the same without what a `World` may do and no API takes, the remote's neither.

    Its addresses under SLAAC are not SLAAC's: DHCPv6 takes its place; and subnets without DHCP have no mode. Its groups
    turn stateless while ports have them: they stay stateful, which makes no difference to the first packet of a
    connection.
    """
    found = copy.copy(want)
    found.subnets = {subnet.id: _in_mode(subnet) for subnet in want.subnets.values()}
    found.groups = {key: msgspec.structs.replace(group, stateful=True) for key, group in want.groups.items()}
    return found


def _in_mode(subnet: Subnet) -> Subnet:
    mode = "dhcpv6-stateful" if subnet.ra_mode and subnet.enable_dhcp else None
    return msgspec.structs.replace(subnet, ra_mode=mode, address_mode=mode)


class RemoteMedium:
    """A remote and what the broker holds for hosts."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.remote = RemotePortico()
        self.states = HostStates()
        self._backend: _Remembering

    def make(self) -> Backend:
        """See Medium."""
        self.states = HostStates()
        self._backend = _Remembering(self.states, SETTINGS, FaultyRemote(self.remote, self.faults))
        return self._backend

    def settle(self) -> Mapping[str, ObjectStatus]:
        """See Medium. The remote comes to rest, and the backend looks at it once more."""
        self.remote.settle()
        found = list(self._backend.sync(self._backend.want, Dirty(everything=True)))
        self.remote.settle()
        return {item.id: item for item in found if item.resource == "port"}

    def peek(self) -> Mapping[str, object]:
        """See Medium: all rows of the remote's store, by our ids and without those of the remote."""
        rows = {kind: self.remote.rows(kind) for kind in KINDS}
        names = {row["id"]: SIGNS.read(row) or row["name"] for kind in KINDS for row in rows[kind] if "name" in row}
        found: dict[str, object] = {}
        for kind in KINDS:
            for row in rows[kind]:
                plain = {name: _named(value, names) for name, value in row.items() if name not in _HISTORY}
                if kind == "security_group_rule":
                    found[f"{kind}/{sorted((k, str(v)) for k, v in plain.items() if k != 'name')}"] = True
                elif row["device_owner"] != "network:dhcp" if kind == "port" else row["name"] != "default":
                    found[f"{kind}/{names[row['id']]}"] = plain
        return found

    def delivers(self, packet: Packet) -> bool:
        """See Medium."""
        theirs = {SIGNS.read(row): row["id"] for row in self.remote.rows("port")}
        if not {packet.sender, packet.receiver} <= theirs.keys():
            return False
        there = replace(packet, sender=theirs[packet.sender], receiver=theirs[packet.receiver])
        return any(delivers(host.kernel, there) for host in self.remote.hosts.values())

    def plant(self) -> Set[str]:
        """See Medium."""
        group = self._create("security-groups", name="theirs", description="portico-2:x")
        network = self._create("networks", name="theirs", description="Portico's? no")
        self._create("subnets", name="theirs", network_id=network, cidr="192.0.2.0/24", ip_version=4)
        self._create("ports", name="theirs", network_id=network, security_groups=[group])
        return {f"{kind}/theirs" for kind in KINDS if kind != "security_group_rule"}

    def corrupt(self, number: int) -> None:
        """See Medium."""
        ports = [row for row in self.remote.rows("port") if SIGNS.read(row)]
        port = sorted(ports, key=SIGNS.read)[number // 6 % len(ports)]
        path = f"/v2.0/ports/{port['id']}"
        match number % 6:
            case 0:
                self.remote.ask("DELETE", path)
            case 1:
                self.remote.ask("PUT", path, {"port": {"admin_state_up": not port["admin_state_up"], "name": "mine"}})
            case 2:
                self.remote.ask("PUT", f"/v2.0/networks/{port['network_id']}", {"network": {"mtu": 1399}})
            case 3:
                self.remote.ask("PUT", path, {"port": {"binding:host_id": "", "device_id": "mine"}})
            case 4:
                self.remote.ask("DELETE", f"{path}/tags")
            case 5:
                for row in self.remote.rows("port"):
                    if row["network_id"] == port["network_id"] and row["device_owner"] != "network:dhcp":
                        self.remote.ask("DELETE", f"/v2.0/ports/{row['id']}")
                self.remote.ask("DELETE", f"/v2.0/networks/{port['network_id']}")

    def _create(self, collection: str, **body: Any) -> str:
        made = self.remote.ask("POST", f"/v2.0/{collection}", {collection[:-1].replace("-", "_"): body})
        [row] = made.values()
        return str(row["id"])


def _named(value: Any, names: Mapping[str, str]) -> Any:
    """Return a value with the remote's ids replaced by ours, and without order where it means nothing."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, dict):
        return {name: _named(item, names) for name, item in value.items()}
    if isinstance(value, list):
        return sorted((_named(item, names) for item in value), key=repr)
    return value
