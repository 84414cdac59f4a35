# SPDX-License-Identifier: Apache-2.0
"""`POST /portico/v1/trace`: does a packet pass, and what decides it?

Whoever may see a port may ask about it. What else is on the way is judged as far as they may see it: what is not theirs
to see is to them as if it were not there, so that nothing is learnt of others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from portico.api import collection
from portico.api.collection import Service
from portico.api.message import as_json, body_of
from portico.api.route import route
from portico.errors import BadRequest, Conflict, NotFound
from portico.model.converters import PROTOCOLS
from portico.model.l3 import REACH, ROUTER_OWNERS
from portico.model.snapshot import IpAddress, Snapshot
from portico.rules import lookup
from portico.rules.context import Context, Row
from portico.rules.discretion import discreet
from portico.store.query import Filter, Query
from portico.store.transaction import Transaction
from portico.trace.packet import PORTED, ROUTED
from portico.trace.question import Question, answer
from portico.trace.way import is_up

if TYPE_CHECKING:
    from portico.api.app import Api

_PLACES = ("network", "subnet", "router", "floatingip", "port_forwarding")
_DECIDING = ("security_group", "security_group_rule", "address_group", "agent")
_KEYS = frozenset({"source", "destination", "protocol", "port"})
_ECHO = frozenset({"icmp", "icmpv6", "ipv6-icmp", "1", "58"})


def routes(api: Api) -> list[Route]:
    """Return the path."""

    async def trace(request: Request) -> Response:
        context, body = api.context(request), collection.decode(await body_of(request))
        return as_json(await api.workers.read(read, api.service, context, body))

    return [route("/portico/v1/trace", {"POST": trace})]


def read(service: Service, context: Context, body: Any) -> Row:
    """Return whether the packet that `body` describes passes, and its way.

    Raises:
        BadRequest: names the attribute, its value and the rule.
        NotFound: there is no such port, or none for this caller.
        Conflict: several ports have that name.
    """
    words = _words(body)
    protocol, port = _protocol(words["protocol"], body.get("port"))
    with service.store.read() as tx:
        source = _port(tx, context, "source", words["source"])
        destination = _destination(tx, context, words["destination"])
        ends = [source, *([destination] if isinstance(destination, dict) else [])]
        want = _snapshot(tx, context, ends)
        _add_led_to(tx, context, want, destination)
        target = destination["id"] if isinstance(destination, dict) else destination
        question = Question(source["id"], target, protocol, port)
        found = answer(want, question, partial(_unrealised, tx, want))
        hops = [asdict(hop) for hop in found.hops]
        texts = [found.reason, *(hop[name] for hop in hops for name in ("what", "why"))]
        met = {hop.object.partition("/")[2] for hop in found.hops}
        hosts = {row["binding:host_id"] for row in ends} | {want.ports[each].host for each in met & want.ports.keys()}
        reason, *said = discreet(tx, context, texts, *hosts)
    for hop, what, why in zip(hops, said[::2], said[1::2], strict=True):
        hop |= {"what": what, "why": why}
    return {"passes": found.delivered, "reason": reason, "hops": hops}


def _words(body: Any) -> dict[str, str]:
    if not isinstance(body, dict):
        raise _bad("body", body, "is not an object with source, destination, protocol and port")
    for name in body:
        if name not in _KEYS:
            raise _bad(name, body[name], f"is none of {', '.join(sorted(_KEYS))}")
    words = {"protocol": "icmp", **body}
    for name in ("source", "destination", "protocol"):
        word = words.get(name)
        if not isinstance(word, str) or not 0 < len(word) <= 255 or "\x00" in word:
            raise _bad(name, word, "is not a text of 1 to 255 characters")
    if why := _oddity(words["destination"]):
        raise _bad("destination", words["destination"], why)
    return words


def _oddity(word: str) -> str:
    """Return why an address is none that a packet is led to; "" if it may be, or if it is a port's name."""
    try:
        address = ip_address(word)
    except ValueError:
        return ""
    if address.is_loopback:
        return "stays within the workload"
    if address.is_multicast or word == "255.255.255.255":
        return "is for several, whom a network tells by itself"
    return "is nobody's address" if address.is_unspecified else ""


def _protocol(word: str, port: Any) -> tuple[int | None, int]:
    """Return the protocol's number, None for an echo request, and the port, 0 if there is none."""
    if word.lower() in _ECHO:
        if port is not None:
            raise _bad("port", port, f"is for protocols that have ports, not for {word}")
        return None, 0
    number = int(word) if word.isascii() and word.isdecimal() and len(word) <= 3 else PROTOCOLS.get(word.lower())
    if number is None or number > 255:
        raise _bad("protocol", word, "is neither a protocol's name nor a number of 0 to 255")
    if number not in PORTED:
        if port is not None:
            raise _bad("port", port, f"is for protocols that have ports, not for {word}")
        return number, 0
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
        raise _bad("port", port, f"is not a number of 1 to 65535, which {word} takes")
    return number, port


def _bad(name: str, value: object, rule: str) -> BadRequest:
    return BadRequest(f"Invalid input for trace: {name} {str(value)[:80]!r} {rule}.", type="HTTPBadRequest")


def _destination(tx: Transaction, context: Context, word: str) -> Row | IpAddress:
    try:
        return ip_address(word)
    except ValueError:
        return _port(tx, context, "destination", word)


def _port(tx: Transaction, context: Context, name: str, word: str) -> Row:
    """Return the port with an id or a name."""
    found = lookup.seen(tx, context, "port", word)
    if found is not None:
        return found
    named = _list(tx, context, "port", Filter("name", (word,)))
    if not named:
        raise NotFound(f"Trace: {name}: no port has the name or id {word!r}.", type="PortNotFound")
    if len(named) > 1:
        ids = ", ".join(sorted(row["id"] for row in named))
        raise Conflict(f"Trace: {name}: {len(named)} ports are named {word!r}; say which by id: {ids}.")
    return named[0]


def _list(tx: Transaction, context: Context, resource: str, *filters: Filter) -> list[Row]:
    query = Query(filters=filters, project_id=context.project_id)
    return tx.list(resource, query, context.policy.visible(tx.tables, context, resource))


def _snapshot(tx: Transaction, context: Context, ends: Iterable[Row]) -> Snapshot:
    """Return what may be on the way: everything but the ports of networks that it cannot touch."""
    want = Snapshot()
    for resource in _PLACES:
        for row in _list(tx, context, resource):
            want.put(resource, row)
    for resource in _DECIDING:  # groups of ports that may be seen decide, and their hosts, whosever they are
        for row in tx.list(resource, Query()):
            want.put(resource, row)
    for row in _list(tx, context, "port", Filter("device_owner", tuple(sorted(ROUTER_OWNERS)))):
        want.put("port", row)
    networks = sorted(_touched(want, ends))
    for row in _list(tx, context, "port", Filter("network_id", tuple(networks))):
        want.put("port", row)
    for row in ends:
        want.put("port", row)
    return want


def _add_led_to(tx: Transaction, context: Context, want: Snapshot, destination: Row | IpAddress) -> None:
    """Add the ports that a floating address leads to: they may be behind a router that nothing else tells of."""
    floating = {item.id: item.port_id for item in want.floating_ips.values() if item.address == destination}
    ids = {*floating.values(), *(it.port_id for it in want.forwardings.values() if it.floatingip_id in floating)}
    for port_id in sorted(ids - {"", *want.ports}):
        if (row := lookup.seen(tx, context, "port", port_id)) is not None:
            want.put("port", row)


def _touched(want: Snapshot, ends: Iterable[Row]) -> set[str]:
    """Return the networks of both ends, those that a router joins to them, and where floating IPs lead."""
    networks = {row["network_id"] for row in ends}
    if any(want.networks[each].network_type == ROUTED for each in networks if each in want.networks):
        networks |= {item.id for item in want.networks.values() if item.network_type == ROUTED}
    for router_id in list(want.ports_of_router):
        joined = {want.ports[each].network_id for each in want.ports_of_router[router_id]}
        if not joined.isdisjoint(networks):
            networks |= joined
    return networks


def _unrealised(tx: Transaction, want: Snapshot, name: str) -> str:
    """Return why a port or router on the way is not as wanted, by what its hosts have told; "" if it is.

    Nothing is said of what is switched off or on no host: that is wanted, and judged where the packet meets it.
    """
    resource, _, object_id = name.partition("/")
    row = tx.get(resource, object_id) if resource in ("port", "router") else None
    if row is None or row["status"] == "ACTIVE" or not _is_meant(want, resource, row):
        return ""
    why = tx.reason(resource, object_id) or f"status is {row['status']}"
    # Who reaches a router's gateways is judged packet by packet.
    return "" if resource == "router" and why == tx.reason(REACH, object_id) else why


def _is_meant(want: Snapshot, resource: str, row: Row) -> bool:
    """Tell whether an object is to carry packets."""
    if resource == "router":
        return bool(row["admin_state_up"])
    return bool(row["binding:host_id"]) and is_up(want, want.ports[row["id"]])
