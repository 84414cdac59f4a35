# SPDX-License-Identifier: Apache-2.0
"""The topology: what there is and why it is not as wanted, page by page, or what has changed since a revision."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

import msgspec

from portico.api import collection
from portico.api.collection import Service
from portico.errors import BadRequest, RevisionGone
from portico.model.resource import Registry, Resource
from portico.rules import served
from portico.rules.context import Context, Row
from portico.rules.discretion import discreet
from portico.store import journal
from portico.store.query import Filter, Query
from portico.store.transaction import Transaction

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
        *("port_id", "router_id", "port_forwardings"),
    ),
}
# With more changes than these the whole costs less than asking for each.
MAX_CHANGES = 500


class Page(msgspec.Struct, frozen=True):
    """A part of the whole: at most `limit` objects from `marker` on, which names the first one as `kind/id`.

    `revision` is what the first page told: the others tell it, too. `url` is where the next one is asked for.
    """

    limit: int
    marker: str = ""
    revision: int = 0
    url: str = ""


def read(service: Service, context: Context, since: int, page: Page, *, follows: bool) -> Row:
    """Return a page of all that who asks may see, or with `since`, if it `follows` the journal, what has changed after.

    The revision is read before the objects, and so are the changes: what is newer comes once more with the next ones.

    Raises:
        BadRequest: the marker is none.
    """
    with service.store.read() as tx:
        if since and follows and not page.marker:
            try:
                changed, revision = _changes(tx, since)
            except RevisionGone:
                changed = None
            if changed is not None:
                return _changed(tx, context, revision, changed)
        return _page(tx, context, page)


def _changes(tx: Transaction, since: int) -> tuple[dict[str, list[str]] | None, int]:
    """Return the ids of what has changed, by resource, and up to which revision; None if that is too much.

    Raises:
        RevisionGone: the journal does not reach back so far, or not so far ahead.
    """
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


def _changed(tx: Transaction, context: Context, revision: int, changed: dict[str, list[str]]) -> Row:
    answer: Row = {"revision": revision, "complete": False}
    reasons: dict[str, str] = {}
    gone: list[str] = []
    for resource in _told(tx.registry):
        ids = changed[resource.name]
        rows = _list(tx, context, resource, Query(filters=(Filter("id", tuple(ids)),))) if ids else []
        answer[resource.plural] = _tell(tx, context, resource, rows, reasons)
        there = {row["id"] for row in rows}
        gone += [f"{resource.name}/{each}" for each in ids if each not in there]
    return {**answer, "gone": gone, "reasons": reasons}


def _page(tx: Transaction, context: Context, page: Page) -> Row:
    told = _told(tx.registry)
    names = [resource.name for resource in told]
    kind, _, first = (page.marker or f"{names[0]}/").partition("/")
    if kind not in names or "\x00" in first:
        raise BadRequest(
            f"Invalid input for marker. Reason: {page.marker[:60]!a} is no kind/id.", type="HTTPBadRequest"
        )
    answer: Row = {"revision": page.revision or journal.newest(tx), "complete": not page.marker}
    reasons: dict[str, str] = {}
    following, left = "", page.limit
    for name, resource in zip(names, told, strict=True):
        rows: list[Row] = []
        if names.index(name) >= names.index(kind) and not following:
            # The object at which a page begins may be gone by now: the next one takes its place.
            begin = (Filter("id", (first,), "after"),) if name == kind else ()
            rows = _list(tx, context, resource, Query(filters=begin, limit=left + 1))
            following = f"{name}/{rows[left]['id']}" if len(rows) > left else ""
            left -= len(rows := rows[:left])
        answer[resource.plural] = _tell(tx, context, resource, rows, reasons)
    if following:
        more = {"limit": page.limit, "marker": following, "revision": answer["revision"]}
        answer["topology_links"] = [{"rel": "next", "href": f"{page.url}?{urlencode(more)}"}]
    return {**answer, "gone": [], "reasons": reasons}


def _told(registry: Registry) -> Sequence[Resource]:
    return [resource for resource in served(registry) if resource.name in FIELDS]


def _list(tx: Transaction, context: Context, resource: Resource, query: Query) -> list[Row]:
    return tx.list(resource.name, query, context.policy.visible(tx.tables, context, resource.name))


def _tell(tx: Transaction, context: Context, resource: Resource, rows: list[Row], reasons: dict[str, str]) -> list[Row]:
    """Return objects as they are told; notes why some are not as wanted, if anybody said."""
    if "status" in resource.attributes:
        troubled = [row["id"] for row in rows if row["status"] != "ACTIVE"]
        tx.read_reasons([resource.name], troubled)
        found = {f"{resource.name}/{each}": why for each in troubled if (why := tx.reason(resource.name, each))}
        hosts = {row["binding:host_id"] for row in rows} if resource.name == "port" else ()
        reasons |= zip(found, discreet(tx, context, list(found.values()), *hosts), strict=True)
    return collection.answers(tx, context, resource, rows, FIELDS[resource.name])
