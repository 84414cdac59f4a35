# SPDX-License-Identifier: Apache-2.0
"""Networks that live in a remote OpenStack Networking service, and ports that are plugged here as it says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from portico.admission import refuse_undeclared
from portico.backends.neutron import outlet, plan
from portico.backends.neutron.plan import Key, Signs, Wanted
from portico.backends.neutron.remote import Remote
from portico.backends.neutron.repair import Repair, There, read
from portico.contract import Binding, Capabilities, Change, Dirty, Hosts, ObjectStatus
from portico.errors import Unsupported
from portico.hoststate import HostObject
from portico.model.snapshot import BINDING_FAILED, DHCP_OWNER, UNBOUND, Port, Snapshot
from portico.settings_neutron import NeutronSettings

NAME = "neutron"
FEATURES = frozenset(
    {
        "ipv4", "ipv6",
        "no-address", "port-security-off", "address-pairs", "security-groups", "stateless-groups", "remote-groups",
        "remote-address-groups", "dhcp", "router-advertisements", "dhcp-options", "tap", "veth", "admin-state",
    }
)  # fmt: skip


class NeutronBackend:
    """Networks of one remote.

    Args:
        hosts: where agents are told what to plug.
        settings: those of the remote.
        remote: the remote they name.
    """

    def __init__(self, hosts: Hosts, settings: NeutronSettings, remote: Remote) -> None:
        self._hosts = hosts
        self._remote = remote
        self._signs = Signs(settings.tag)
        self._send_profile = settings.send_profile
        self._capabilities = Capabilities(
            name=NAME,
            network_types=(NAME,),
            features=FEATURES,
            overhead=settings.overhead,
            look_s=settings.poll_s,
        )
        self._there: There | None = None

    def describe(self) -> Capabilities:
        """Return what the Networking API can ask for; what the remote refuses shows with the object."""
        return self._capabilities

    def admit(self, _want: Snapshot, change: Change) -> None:
        """Refuse what the remote is not told."""
        refuse_undeclared(self._capabilities, change)
        if change.resource == "network":
            for name in ("provider:physical_network", "provider:segmentation_id"):
                if change.after.get(name) is not None:
                    raise Unsupported(
                        f"Invalid input for operation: {name} '{change.after[name]}' cannot be specified for a network "
                        "of the neutron backend: the remote chooses it.",
                        type="InvalidInput",
                    )

    def bind(self, _port: Port, _host: str) -> Binding:
        """Return that the remote is still to say how the port is reached: the request does not wait for it."""
        return Binding(vif_type=UNBOUND, vif_details={})

    def sync(self, want: Snapshot, dirty: Dirty) -> Iterable[ObjectStatus]:
        """Make the remote's objects equal to what is wanted, tell hosts what to plug, and say what the remote says.

        With `everything` it looks first at all that is there; else at what it knows to be there.

        Raises:
            Unavailable: the remote does not answer; the next sync looks at everything.
        """
        wanted = plan.wanted(want, self._signs, send_profile=self._send_profile)
        known, self._there = self._there, None
        there = read(self._remote, self._signs) if known is None or dirty.everything else known
        repair = Repair(self._remote, self._signs, there, wanted)
        repair.run()
        if not repair.troubles and not repair.left:
            self._there = there
        statuses, objects = self._outcome(want, wanted, there, repair.troubles)
        self._hosts.keep(NAME, objects)
        for host, items in objects.items():
            self._hosts.replace(NAME, host, items)
        return statuses

    def _outcome(
        self, want: Snapshot, wanted: dict[Key, Wanted], there: There, troubles: dict[Key, str]
    ) -> tuple[list[ObjectStatus], dict[str, list[HostObject]]]:
        """Return the statuses of networks and ports, and what each host is to have."""
        statuses = list(self._of_networks(want, there, troubles))
        objects: defaultdict[str, list[HostObject]] = defaultdict(list)
        for port in want.ports.values():
            if port.device_owner == DHCP_OWNER:
                continue
            row = there.rows.get(("port", port.id))
            trouble = self._trouble(wanted[("port", port.id)], troubles)
            if row is None or not port.host:
                state, why = ("ERROR", trouble) if trouble else ("DOWN", "bound to no host")
                statuses.append(ObjectStatus("port", port.id, state, why))
                continue
            status, item = _bound(port, row, want.networks[port.network_id].mtu, trouble)
            statuses.append(status)
            if item is not None:
                objects[port.host].append(item)
        return statuses, dict(objects)

    @staticmethod
    def _of_networks(want: Snapshot, there: There, troubles: dict[Key, str]) -> Iterator[ObjectStatus]:
        for network_id in want.networks:
            own = troubles.get(("network", network_id))
            found = [
                f"subnet {subnet_id}: {troubles[('subnet', subnet_id)]}"
                for subnet_id in sorted(want.subnets_of_network.get(network_id, ()))
                if ("subnet", subnet_id) in troubles
            ]
            if own or found:
                yield ObjectStatus("network", network_id, "ERROR", own or found[0])
                continue
            row = there.rows[("network", network_id)]
            state = row.get("status") or "ACTIVE"
            why = "" if state == "ACTIVE" else f"network {row['id']} of the remote is {state}"
            yield ObjectStatus("network", network_id, state, why)

    @staticmethod
    def _trouble(item: Wanted, troubles: dict[Key, str]) -> str:
        """Return what keeps a port from being as wanted: its own trouble, or that of a group that filters it."""
        if item.key in troubles:
            return troubles[item.key]
        groups = [need for need in item.needs if need[0] == "security_group" and need in troubles]
        return f"security group {groups[0][1]}: {troubles[groups[0]]}" if groups else ""


def _bound(port: Port, row: plan.Row, mtu: int, trouble: str) -> tuple[ObjectStatus, HostObject | None]:
    """Return the status of a port that is on a host, and what that host is to plug."""
    if "binding:vif_type" not in row:
        why = "the remote does not show bindings: Portico's user there needs the role admin or service"
        return ObjectStatus("port", port.id, "ERROR", why), None
    vif_type, remote_id = row["binding:vif_type"], row["id"]
    item, why = None, trouble
    if vif_type == BINDING_FAILED:
        why = why or f"the remote cannot bind port {remote_id} to host {port.host}: binding failed"
    elif vif_type == UNBOUND:
        why = why or f"the remote has not bound port {remote_id} to host {port.host}"
    else:
        try:
            item = outlet.of(port, row, mtu)
        except outlet.NotPlugged as error:
            why = why or str(error)
    state = row.get("status") or "ACTIVE"
    if why:
        state = "ERROR"
    elif state != "ACTIVE":
        why = f"port {remote_id} of the remote is {state}"
    return ObjectStatus("port", port.id, state, why, port.host, outlet.binding(row, item)), item


def make(hosts: Hosts, settings: NeutronSettings) -> NeutronBackend:
    """Return the backend.

    Raises:
        SettingsError: openstacksdk is missing, or a setting is.
    """
    return NeutronBackend(hosts, settings, Remote(settings))
