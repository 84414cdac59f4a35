# SPDX-License-Identifier: Apache-2.0
"""The topology as one answer: what there is and why it is not as wanted, at a revision or since one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from portico.api import collection
from portico.api.collection import Service
from portico.errors import RevisionGone
from portico.rules import served
from portico.rules.context import Context, Row
from portico.store import journal

# What is told of each kind of object; a kind that this server does not have is left out.
FIELDS = {
    "network": (
        *("id", "name", "project_id", "status", "admin_state_up", "mtu", "shared", "router:external"),
        *("portico:backend", "provider:network_type"),
    ),
    "subnet": ("id", "name", "network_id", "cidr", "gateway_ip", "enable_dhcp", "ip_version"),
    "port": (
        *("id", "name", "project_id", "status", "admin_state_up", "network_id", "mac_address", "fixed_ips"),
        *("device_id", "device_owner", "binding:host_id"),
    ),
    "router": ("id", "name", "project_id", "status", "admin_state_up", "external_gateway_info"),
    "floatingip": (
        *("id", "project_id", "status", "floating_ip_address", "fixed_ip_address", "floating_network_id"),
        *("port_id", "router_id"),
    ),
}
# With more changes than these the whole costs less than asking for each.
MAX_CHANGES = 500


def read(service: Service, context: Context, since: int, *, follows: bool) -> Row:
    """Return all that who asks may see, or with `since`, if it `follows` the journal, what has changed after it.

    `revision` is read first, and so are the changes: what is newer than it comes once more with the next ones.
    """
    if since and follows:
        try:
            changed, revision = _changes(service, since)
        except RevisionGone:
            changed = None
        if changed is not None:
            return _answer(service, context, revision, changed)
    with service.store.read() as tx:
        revision = journal.newest(tx)
    return _answer(service, context, revision, None)


def _changes(service: Service, since: int) -> tuple[dict[str, list[str]] | None, int]:
    """Return the ids of what has changed, by resource, and up to which revision; None if that is too much.

    Raises:
        RevisionGone: the journal does not reach back so far, or not so far ahead.
    """
    with service.store.read() as tx:
        entries = journal.since(tx, since, MAX_CHANGES + 1)
        newest = journal.newest(tx)
    if since > newest:
        raise RevisionGone(f"Journal: revision {since} is still to come; the newest is {newest}.")
    if len(entries) > MAX_CHANGES:
        return None, newest
    ids: dict[str, list[str]] = {name: [] for name in FIELDS}
    for name, object_id in dict.fromkeys((entry.resource, entry.id) for entry in entries):
        if name in ids:
            ids[name].append(object_id)
    return ids, entries[-1].revision if entries else since


def _answer(service: Service, context: Context, revision: int, changed: dict[str, list[str]] | None) -> Row:
    whole = msgspec.structs.replace(service, page_max=-1)
    answer: Row = {"revision": revision, "complete": changed is None}
    troubled: dict[str, list[str]] = {}
    gone: list[str] = []
    for resource in served(service.store.registry):
        if resource.name not in FIELDS:
            continue
        ids = None if changed is None else changed[resource.name]
        pairs = [("fields", name) for name in FIELDS[resource.name]] + [("id", each) for each in ids or ()]
        rows: list[Row] = []
        if ids != []:
            rows = collection.list_objects(whole, resource, context, pairs, "")[resource.plural]
        answer[resource.plural] = rows
        if "status" in resource.attributes:
            troubled[resource.name] = [row["id"] for row in rows if row["status"] != "ACTIVE"]
        there = {row["id"] for row in rows}
        gone += [f"{resource.name}/{each}" for each in ids or () if each not in there]
    return {**answer, "gone": gone, "reasons": _reasons(service, troubled.items())}


def _reasons(service: Service, troubled: Iterable[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """Return why objects are not as wanted, by resource and id; those of which nobody said why are left out."""
    found = {}
    with service.store.read() as tx:
        for name, ids in troubled:
            tx.read_reasons([name], ids)
            found.update({f"{name}/{each}": reason for each in ids if (reason := tx.reason(name, each))})
    return found
