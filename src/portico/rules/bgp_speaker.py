# SPDX-License-Identifier: Apache-2.0
"""BGP speakers: what hosts say in BGP about routed networks. Errors are those of neutron-dynamic-routing."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Sequence
from ipaddress import ip_address

from portico.errors import BadRequest, Conflict, NotFound
from portico.model import bgp
from portico.model.bgp_routers import routes_behind
from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER
from portico.model.snapshot import Snapshot
from portico.rules import lookup
from portico.rules.context import Context, Row
from portico.store.query import Filter, Query
from portico.store.transaction import Transaction

_NUMBERS = re.compile(r"\d{1,10}(?::\d{1,10}){1,2}", re.ASCII)
# The largest part of a community (RFC 1997) and of a large one (RFC 8092), by the number of parts.
_LARGEST = {2: (1 << 16) - 1, 3: (1 << 32) - 1}


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a speaker without peers and networks.

    Raises:
        BadRequest: local_as or ip_version is missing, a community is none, or nobody would reflect.
    """
    require(body, "local_as", "'None' is not an integer")
    require(body, "ip_version", "None is not in [4, 6]")
    _check(body)
    return tx.insert("bgp_speaker", {**body, "id": str(uuid.uuid4()), "peers": [], "networks": []})


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a speaker.

    Raises:
        BadRequest: a community is none, or nobody would reflect.
    """
    _check({**row, **changes})
    return tx.update("bgp_speaker", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a speaker; its peers and networks stay."""
    tx.delete("bgp_speaker", row)


def add_bgp_peer(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Have hosts speak with a peer.

    Raises:
        BadRequest: the peer's address is of the other IP version.
        Conflict: a host would speak with two peers of the same address.
        NotFound: there is no such peer.
    """
    peer = lookup.visible(tx, context, "bgp_peer", body["bgp_peer_id"])
    version = ip_address(peer["peer_ip"]).version
    if version != row["ip_version"]:
        raise invalid(
            f"bgp_peer_id '{peer['id']}' names a peer at {peer['peer_ip']}, with which BGP speaker {row['id']} of "
            f"ip_version {row['ip_version']} cannot speak: next hops are addresses of the session's IP version"
        )
    _refuse_twin(row, peer, tx.get_many("bgp_peer", row["peers"]))
    check_peer(tx, row, peer)
    tx.update("bgp_speaker", row, {"peers": [*row["peers"], peer["id"]]})
    return body


def remove_bgp_peer(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Have hosts speak with a peer no more.

    Raises:
        NotFound: they do not speak with it.
    """
    if body["bgp_peer_id"] not in row["peers"]:
        raise NotFound(
            f"BGP peer {body['bgp_peer_id']} is not associated with BGP speaker {row['id']}.",
            type="BgpSpeakerPeerNotAssociated",
        )
    tx.update("bgp_speaker", row, {"peers": [item for item in row["peers"] if item != body["bgp_peer_id"]]})
    return body


def add_gateway_network(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Have the speaker announce a network, or what is behind routers with gateways on it, and from now on only such.

    Raises:
        BadRequest: the network is a routed one that has subnets, and none of the speaker's IP version.
        Conflict: it announces the network already.
        NotFound: there is no such network.
    """
    network = lookup.visible(tx, context, "network", body["network_id"])
    if network["id"] in row["networks"]:
        raise Conflict(
            f"Network {network['id']} is already bound to BgpSpeaker {row['id']}.", type="BgpSpeakerNetworkBindingError"
        )
    subnets = tx.find("subnet", network_id=network["id"]) if network["portico:backend"] == bgp.ROUTED else []
    if subnets and all(item["ip_version"] != row["ip_version"] for item in subnets):
        raise invalid(
            f"network_id '{network['id']}' names a network without subnets of ip_version {row['ip_version']}, which is "
            f"all that BGP speaker {row['id']} announces"
        )
    tx.update("bgp_speaker", row, {"networks": [*row["networks"], network["id"]]})
    return body


def remove_gateway_network(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Have the speaker announce a network no more.

    Raises:
        NotFound: it does not announce the network.
    """
    if body["network_id"] not in row["networks"]:
        raise NotFound(
            f"Network {body['network_id']} is not associated with BGP speaker {row['id']}.",
            type="BgpSpeakerNetworkNotAssociated",
        )
    tx.update("bgp_speaker", row, {"networks": [item for item in row["networks"] if item != body["network_id"]]})
    return body


def get_advertised_routes(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Return what the hosts announce now: ports' addresses by way of their hosts, networks by way of routers."""
    want = Snapshot()
    want.put("bgp_speaker", row)
    for item in tx.list("agent", Query()):
        want.put("agent", item)
    networks = tx.find("network", **{"portico:backend": bgp.ROUTED})
    outside = [item for item in tx.get_many("network", row["networks"]) if item["portico:backend"] != bgp.ROUTED]
    for network in [*networks, *outside]:
        want.put("network", network)
    announced = bgp.networks_of(want, want.speakers[row["id"]])
    for resource in ("subnet", "port", "block"):
        for item in tx.list(resource, _among("network_id", announced)):
            want.put(resource, item)
    _add_floating(tx, want, [*announced, *(network["id"] for network in outside)])
    _add_routers(tx, want, [network["id"] for network in outside])
    speaker = want.speakers[row["id"]]
    routes = [(one.destination, one.next_hop) for one in bgp.routes_of(want, speaker)]
    routes += sorted(routes_behind(want, speaker).items(), key=lambda pair: (int(pair[0][0]), pair[0].prefixlen))
    shown = [{"destination": str(destination), "next_hop": str(next_hop)} for destination, next_hop in routes]
    return {"advertised_routes": shown}


def _add_floating(tx: Transaction, want: Snapshot, networks: Sequence[str]) -> None:
    """Add to what is wanted the floating IPs of networks, with all that says where they are led."""
    rows = tx.list("floatingip", _among("floating_network_id", networks))
    used = [row for row in rows if row["router_id"]]
    ids = tuple(row["id"] for row in used)
    forwardings = tx.list("port_forwarding", Query(filters=(Filter("floatingip_id", ids),))) if ids else []
    ports = {row["port_id"] for row in used if row["port_id"]} | {row["internal_port_id"] for row in forwardings}
    found = {
        "floatingip": used,
        "port_forwarding": forwardings,
        "router": tx.get_many("router", sorted({row["router_id"] for row in used})),
        "port": tx.get_many("port", sorted(ports)),
    }
    for resource, items in found.items():
        for item in items:
            want.put(resource, item)


def _add_routers(tx: Transaction, want: Snapshot, networks: Sequence[str]) -> None:
    """Add to what is wanted the routers with gateways on networks, with all that is behind them."""
    gateways = tx.list("port", _among("network_id", networks, device_owner=GATEWAY_OWNER)) if networks else []
    routers = sorted({row["device_id"] for row in gateways})
    inside = tx.list("port", _among("device_id", routers, device_owner=INTERFACE_OWNER)) if routers else []
    near = sorted({row["network_id"] for row in (*gateways, *inside)})
    subnets = tx.list("subnet", _among("network_id", near)) if near else []
    found = {
        "port": [*gateways, *inside],
        "router": tx.get_many("router", routers),
        "network": tx.get_many("network", near),
        "subnet": subnets,
        "subnetpool": tx.get_many("subnetpool", sorted({row["subnetpool_id"] for row in subnets} - {None})),
    }
    for resource, items in found.items():
        for item in items:
            want.put(resource, item)


def _among(attribute: str, values: Sequence[str], **equal: str) -> Query:
    """Return the query for objects with one of several values of an attribute, and with others that they equal."""
    more = (Filter(name, (value,)) for name, value in equal.items())
    return Query(filters=(Filter(attribute, tuple(values)), *more))


def check_peer(tx: Transaction, speaker: Row, peer: Row) -> None:
    """Refuse a peer on whose address another one of some speaker is that the same host would speak with.

    Raises:
        Conflict: names both.
    """
    for other in tx.find("bgp_speaker"):
        rivals = [item for item in tx.get_many("bgp_peer", other["peers"]) if item["id"] != peer["id"]]
        if other["id"] != speaker["id"] and peer["id"] in other["peers"]:
            rivals.append(peer)
        _refuse_twin(other, peer, [item for item in rivals if _meet(item["portico:hosts"], peer["portico:hosts"])])


def _refuse_twin(speaker: Row, peer: Row, rivals: Collection[Row]) -> None:
    if any(item["peer_ip"] == peer["peer_ip"] for item in rivals):
        raise Conflict(
            f"BGP Speaker {speaker['id']} is already configured to peer with a BGP Peer at {peer['peer_ip']}, it "
            f"cannot peer with BGP Peer {peer['id']}.",
            type="DuplicateBgpPeerIpException",
        )


def _meet(some: Collection[str], others: Collection[str]) -> bool:
    """Tell whether two lists of hosts, of which an empty one stands for all, have one in common."""
    return not some or not others or bool(set(some) & set(others))


def forget(tx: Transaction, attribute: str, object_id: str) -> None:
    """Take what is going out of the speakers' `peers` or `networks`."""
    for row in tx.find("bgp_speaker"):
        if object_id in row[attribute]:
            tx.update("bgp_speaker", row, {attribute: [item for item in row[attribute] if item != object_id]})


def _check(row: Row) -> None:
    for community in row["portico:communities"]:
        parts = community.split(":") if _NUMBERS.fullmatch(community) else []
        if not parts or any(int(part) > _LARGEST[len(parts)] for part in parts):
            raise invalid(
                f"portico:communities '{community}' is neither A:B with numbers up to 65535 nor A:B:C with numbers up "
                "to 4294967295"
            )
    if row["portico:mode"] == "route-reflector" and not row["portico:reflectors"]:
        raise invalid("portico:mode 'route-reflector' needs at least one host in portico:reflectors")


def require(body: Row, name: str, reason: str) -> None:
    """Refuse a body without what has no default; of neutron-lib it has null, which no validator lets pass."""
    if body.get(name) is None:
        raise BadRequest(f"Invalid input for {name}. Reason: {reason}.", type="HTTPBadRequest")


def invalid(rule: str) -> BadRequest:
    """Return the error for a value that breaks a rule."""
    return BadRequest(f"Invalid input for operation: {rule}.", type="InvalidInput")
