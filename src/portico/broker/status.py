# SPDX-License-Identifier: Apache-2.0
"""Status that comes back from backends and agents, written beside the objects."""

from __future__ import annotations

from collections.abc import Iterable

from portico.contract import ObjectStatus
from portico.hoststate import Report, Status
from portico.model.l3 import GATEWAY_OWNER, REACH
from portico.model.snapshot import BINDING_FAILED, DHCP_OWNER, ROUTER_OWNERS
from portico.model.trunk import status as trunk_status
from portico.store.store import Store
from portico.store.transaction import Transaction

# An agent's word for a VIF -> a port's status as Neutron writes it.
_STATES = {"active": "ACTIVE", "waiting": "DOWN", "error": "ERROR"}
# A kind of host objects -> the resource whose id is in their keys and whose row tells their status.
_ABOUT = {
    "vif": "port",
    "lease": "port",
    "outlet": "port",
    "bridge": "network",
    "uplink": "network",
    "router": "router",
}
# Under this name the table of reasons keeps what is wrong with a port's lease.
_LEASE = "lease"
# Under these, what is wrong with a port forwarding on its host, after its port's id, and what of it shows at the port.
_PUBLISH, _PUBLISHED = "publish", "published"
# Under this one, what is wrong with a network's way to a host, which is named first.
_UPLINK = "uplink"
# Under this one, a state and a reason: why a port that another service realises is not plugged into it on its host.
_OUTLET = "outlet"


def write_statuses(store: Store, statuses: Iterable[ObjectStatus]) -> None:
    """Write statuses; objects that are gone meanwhile are passed over."""
    told = list(statuses)

    def write(tx: Transaction) -> None:
        for item in told:
            row = tx.get(item.resource, item.id)
            if item.resource in _REACHED:
                _write_reach(tx, item, row)
            elif row is None:
                continue
            elif item.binding is not None:
                _write_binding(tx, item, row)
            elif not (item.state == "DOWN" and row.get("binding:vif_type") == BINDING_FAILED):
                # What could not be bound stays in ERROR until it is bound anew, with the reason.
                _write(tx, item, row)

    store.write_news(write)


def _write_binding(tx: Transaction, item: ObjectStatus, row: dict[str, object]) -> None:
    """Write how a port is reached, as another service told, and its status; both need the port plugged on its host."""
    if item.binding is None or row["binding:host_id"] != item.host:
        return
    found = {"binding:vif_type": item.binding.vif_type, "binding:vif_details": item.binding.vif_details}
    if any(row[name] != value for name, value in found.items()):
        row = tx.update("port", row, found, touch=False)
        _keep(tx, _OUTLET, item.id, f"DOWN host {item.host} has not plugged it yet")
    _write(tx, _with_outlet(tx, item), row)


def write_report(tx: Transaction, host: str, report: Report) -> None:
    """Write what an agent says of its VIFs, DHCP servers and bridges.

    A VIF that is no longer bound to `host` is passed over; so is what a VIF's own status tells anyway.
    """
    _read_ahead(tx, report)
    for item in report.statuses:
        kind, _, object_id = item.key.partition("/")
        if write_kept := _KEPT.get(kind):
            write_kept(tx, host, object_id, item)
        state = _STATES.get(item.state)
        if state is None:
            continue
        match kind:
            case "vif":
                row = tx.get("port", object_id)
                if row is not None and row["binding:host_id"] == host:
                    _write(tx, _with_sides(tx, ObjectStatus("port", object_id, state, item.reason)), row)
                    _settle_trunk(tx, row.get("trunk_id"))
            case "dhcp":
                for row in tx.find("port", network_id=object_id, device_owner=DHCP_OWNER):
                    _write_shared(tx, host, ObjectStatus("port", row["id"], state, item.reason), row)
            case _ if resource := _resource_of(tx, kind):
                row = tx.get(resource, object_id)
                if row is not None:
                    _write_shared(tx, host, ObjectStatus(resource, object_id, state, item.reason), row)


def _settle_trunk(tx: Transaction, trunk_id: str | None) -> None:
    """Write what the status of a trunk comes to when one of its ports has told of its own."""
    trunk = tx.get("trunk", trunk_id) if trunk_id else None
    if trunk is not None:
        own, *subports = (
            tx.get("port", port_id) for port_id in (trunk["port_id"], *(item["port_id"] for item in trunk["sub_ports"]))
        )
        found = trunk_status(own["status"] if own else "", [row["status"] for row in subports if row])
        _write(tx, ObjectStatus("trunk", trunk["id"], found), trunk)


def _resource_of(tx: Transaction, kind: str) -> str:
    """Return the resource whose objects things of a kind are: a bridge is a network, a package's are its service's."""
    if kind == "bridge":
        return "network"
    found = tx.registry.resources.get(kind)
    return kind if found is not None and found.package and "status" in found.attributes else ""


def _read_ahead(tx: Transaction, report: Report) -> None:
    """Read all that a report is about at once."""
    ids: dict[str, list[str]] = {}
    for item in report.statuses:
        kind, _, object_id = item.key.partition("/")
        if kind in _ABOUT and (item.state in _STATES or kind in _KEPT):
            ids.setdefault(_ABOUT[kind], []).append(object_id)
    for resource, found in ids.items():
        tx.get_many(resource, found)
    if ids:
        tx.read_reasons((*ids, _LEASE, _OUTLET, _PUBLISHED, _UPLINK), [key for found in ids.values() for key in found])


def _write_lease(tx: Transaction, host: str, port_id: str, item: Status) -> None:
    """Keep what the host of a port says of its DHCP lease beside its VIF's status: a port needs both."""
    row, known = tx.get("port", port_id), reason(tx, _LEASE, port_id)
    if row is not None and row["binding:host_id"] != host:
        return
    trouble = item.reason if item.state == "error" and row is not None else ""
    if known == trouble:
        return
    _keep(tx, _LEASE, port_id, trouble)
    if row is None:
        return
    if row["status"] == "ACTIVE" or (known and reason(tx, "port", port_id) == f"DHCP: {known}"):
        _write(tx, _with_sides(tx, ObjectStatus("port", port_id, "ACTIVE", "")), row)


def _write_published(tx: Transaction, host: str, forwarding_id: str, item: Status) -> None:
    """Keep what the host of a port says of ports of its own that lead there; it shows at the port."""
    known = reason(tx, _PUBLISH, forwarding_id)
    row = tx.get("port_forwarding", forwarding_id)
    port_id = str(row["internal_port_id"]) if row is not None else known.partition(" ")[0]
    port = tx.get("port", port_id) if port_id else None
    if port is not None and port["binding:host_id"] != host:
        return
    trouble = item.reason if item.state == "error" and row is not None and port is not None else ""
    told = f"{port_id} {trouble}" if trouble else ""
    if told == known:
        return
    _keep(tx, _PUBLISH, forwarding_id, told)
    shown, now = reason(tx, _PUBLISHED, port_id), _first_trouble(tx, port_id)
    if now == shown:
        return
    _keep(tx, _PUBLISHED, port_id, now)
    if port is not None and (port["status"] == "ACTIVE" or (shown and reason(tx, "port", port_id) == shown)):
        _write(tx, _with_sides(tx, ObjectStatus("port", port_id, "ACTIVE", "")), port)


def _first_trouble(tx: Transaction, port_id: str) -> str:
    """Return what is wrong with the first port forwarding to a port of which something is."""
    ids = sorted(row["id"] for row in tx.find("port_forwarding", internal_port_id=port_id))
    found = ((one, reason(tx, _PUBLISH, one).partition(" ")[2]) for one in ids)
    return next((f"port forwarding {one}: {why}" for one, why in found if why), "")


def _with_sides(tx: Transaction, item: ObjectStatus) -> ObjectStatus:
    """Return the status of a port with the trouble of its lease, or of what is published of it, if it has no other."""
    found = _with_lease(tx, item)
    trouble = reason(tx, _PUBLISHED, item.id) if found.state == "ACTIVE" else ""
    return ObjectStatus("port", item.id, "ERROR", trouble) if trouble else found


def _with_lease(tx: Transaction, item: ObjectStatus) -> ObjectStatus:
    """Return the status of a port with its lease's trouble, if it has no other."""
    trouble = reason(tx, _LEASE, item.id) if item.state == "ACTIVE" else ""
    return ObjectStatus("port", item.id, "ERROR", f"DHCP: {trouble}") if trouble else item


def _write_uplink(tx: Transaction, host: str, network_id: str, item: Status) -> None:
    """Keep what a host says of its way to a network beside what hosts say of the network itself."""
    row, known = tx.get("network", network_id), reason(tx, _UPLINK, network_id)
    trouble = f"host {host}: {item.reason}" if item.state == "error" and row is not None else ""
    if trouble == known or not (trouble or row is None or known.startswith(f"host {host}: ")):
        return
    _keep(tx, _UPLINK, network_id, trouble)
    if row is None:
        return
    if row["status"] == "ACTIVE" or (known and reason(tx, "network", network_id) == known):
        _write(tx, ObjectStatus("network", network_id, "ERROR" if trouble else "ACTIVE", trouble), row)


def _write_outlet(tx: Transaction, host: str, port_id: str, item: Status) -> None:
    """Keep what the host of a port says of its outlet beside what the service that realises it says: both count."""
    state = _STATES.get(item.state)
    row = tx.get("port", port_id)
    known = reason(tx, _OUTLET, port_id)
    if row is None:
        if known:
            tx.forget_reason(_OUTLET, port_id)
        return
    told = "" if state == "ACTIVE" else f"{state} {item.reason}"
    if row["binding:host_id"] != host or state is None or told == known:
        return
    _keep(tx, _OUTLET, port_id, told)
    if row["status"] == "ACTIVE" or (known and reason(tx, "port", port_id) == known.partition(" ")[2]):
        _write(tx, _with_outlet(tx, ObjectStatus("port", port_id, "ACTIVE")), row)


def _write_router(tx: Transaction, host: str, router_id: str, item: Status) -> None:
    """Write the status of a router, and of its ports and floating IPs, which are as it is.

    A host that has it no longer has nothing against it. Where hosts have nothing against it, what counts is who reaches
    its gateways.
    """
    row = tx.get("router", router_id)
    if row is None:
        return
    told = ObjectStatus("router", router_id, _STATES.get(item.state, "ACTIVE"), item.reason)
    before = row["status"], reason(tx, "router", router_id)
    if told.state == "ACTIVE" and (reach := reason(tx, REACH, router_id)):
        if before[1].startswith(f"host {host}: "):
            _write(tx, ObjectStatus("router", router_id, "ERROR", reach), row)
    else:
        _write_shared(tx, host, told, row)
    _pass_on(tx, router_id, before)


def _pass_on(tx: Transaction, router_id: str, before: tuple[str, str]) -> None:
    """Write the status of a router's ports and floating IPs, if it was another `before`.

    Not of those that have nothing to do with who reaches its gateways.
    """
    row, why = tx.get("router", router_id), reason(tx, "router", router_id)
    if row is None or (row["status"], why) == before:
        return
    is_reach = row["status"] == "ACTIVE" or (why != "" and why == reason(tx, REACH, router_id))
    for port in tx.find("port", device_id=router_id):
        if port["device_owner"] in ROUTER_OWNERS:
            is_well = is_reach and port["device_owner"] != GATEWAY_OWNER
            state, trouble = ("ACTIVE", "") if is_well else (row["status"], why)
            _write(tx, ObjectStatus("port", port["id"], state, trouble), port)
    for floating in tx.find("floatingip", router_id=router_id):
        own = reason(tx, REACH, floating["id"])
        state, trouble = ("ERROR" if own else "ACTIVE", own) if is_reach else (row["status"], why)
        _write(tx, ObjectStatus("floatingip", floating["id"], state, trouble), floating)


# Resources of which backends tell who reaches their gateways.
_REACHED = ("router", "floatingip")


def _write_reach(tx: Transaction, item: ObjectStatus, row: dict[str, object] | None) -> None:
    """Keep what a backend says of a router or floating IP beside what hosts say of it, which counts more."""
    known = reason(tx, REACH, item.id)
    if row is None or item.reason != known:
        tx.forget_reason(REACH, item.id)
    if row is None or item.reason == known:
        return
    if item.reason:
        tx.note_reason(REACH, item.id, item.reason)
    before = row["status"], reason(tx, item.resource, item.id)
    if before[0] == "ACTIVE" or (known and before[1] == known):
        state = "ACTIVE" if item.resource == "router" or row["router_id"] else "DOWN"
        _write(tx, ObjectStatus(item.resource, item.id, item.state if item.reason else state, item.reason), row)
        if item.resource == "router":
            _pass_on(tx, item.id, (str(before[0]), before[1]))


# Kinds of host objects whose troubles are kept beside those of the port or network itself, or that have more to them.
_KEPT = {
    "lease": _write_lease,
    "publish": _write_published,
    "outlet": _write_outlet,
    "uplink": _write_uplink,
    "router": _write_router,
}


def _with_outlet(tx: Transaction, item: ObjectStatus) -> ObjectStatus:
    """Return the status of a port with its outlet's trouble, if it has no other."""
    trouble = reason(tx, _OUTLET, item.id) if item.state == "ACTIVE" else ""
    state, _, why = trouble.partition(" ")
    return ObjectStatus("port", item.id, state, why) if trouble else item


def _write_shared(tx: Transaction, host: str, item: ObjectStatus, row: dict[str, object]) -> None:
    """Write the status of what several hosts realise: it is as bad as on the host that said so last, which is named.

    A network that is well has the trouble of a host's way to it, if there is any.
    """
    before = reason(tx, item.resource, item.id)
    trouble = f"host {host}: {item.reason}"
    if item.state == "ACTIVE" and before and not before.startswith(f"host {host}: "):
        return
    way = reason(tx, _UPLINK, item.id) if item.state == "ACTIVE" and item.resource == "network" else ""
    state = "ERROR" if way else item.state
    _write(tx, ObjectStatus(item.resource, item.id, state, way or (trouble if item.reason else "")), row)


def _write(tx: Transaction, item: ObjectStatus, row: dict[str, object]) -> None:
    if row["status"] != item.state:
        tx.update(item.resource, row, {"status": item.state}, touch=False)
    elif reason(tx, item.resource, item.id) != item.reason:
        tx.record(item.resource, item.id, str(row["project_id"] or ""), "status")
    else:
        return
    _keep(tx, item.resource, item.id, item.reason)


def _keep(tx: Transaction, kind: str, object_id: str, why: str) -> None:
    """Have `why` for the reason of that kind that an object has; "" for none."""
    tx.forget_reason(kind, object_id)
    if why:
        tx.note_reason(kind, object_id, why)


def reason(tx: Transaction, resource: str, object_id: str) -> str:
    """Return why an object is not ACTIVE, or ""."""
    return tx.reason(resource, object_id)
