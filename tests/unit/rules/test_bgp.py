# SPDX-License-Identifier: Apache-2.0
"""BGP speakers and peers as projects' operators make them, with neutron-dynamic-routing's errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from portico.errors import BadRequest, Conflict, NotFound, PorticoError
from portico.rules import TABLE, agent
from portico.rules.context import Context
from portico.store.store import Store
from portico.store.transaction import Transaction

Row = dict[str, Any]
Create = Callable[..., Row]

PEER = {"remote_as": 65001, "peer_ip": "192.0.2.1", "auth_type": "none"}
SPEAKER = {"local_as": 4200000000, "ip_version": 4}


def act(tx: Transaction, context: Context, row: Row, name: str, **body: Any) -> Row:
    """Do an action with a speaker, as it is now."""
    fresh = tx.get("bgp_speaker", row["id"])
    assert fresh is not None
    answer = TABLE["bgp_speaker"].actions[name](tx, context, fresh, body)
    assert isinstance(answer, dict)
    return answer


def routes(tx: Transaction, context: Context, row: Row) -> list[tuple[str, str]]:
    found = act(tx, context, row, "get_advertised_routes")["advertised_routes"]
    return [(one["destination"], one["next_hop"]) for one in found]


def hosts(tx: Transaction, **addresses: dict[str, str]) -> None:
    for host, told in addresses.items():
        agent.heartbeat(tx, host, "Portico agent", "portico-agent", {"configurations": told}, time.time())


@pytest.mark.parametrize(
    ("resource", "body", "rule"),
    [
        ("bgp_speaker", {"local_as": 1}, "ip_version. Reason: None is not in"),
        ("bgp_speaker", {"ip_version": 4}, "local_as. Reason: 'None' is not an integer"),
        ("bgp_speaker", SPEAKER | {"local_as": 1 << 32}, "local_as"),
        ("bgp_speaker", SPEAKER | {"local_as": 0}, "local_as"),
        ("bgp_speaker", SPEAKER | {"portico:communities": ["65536:1"]}, "portico:communities '65536:1'"),
        ("bgp_speaker", SPEAKER | {"portico:communities": ["1:2:4294967296"]}, "portico:communities '1:2:4294967296'"),
        ("bgp_speaker", SPEAKER | {"portico:communities": ["no-export"]}, "portico:communities 'no-export'"),
        ("bgp_speaker", SPEAKER | {"portico:mode": "route-reflector"}, "portico:reflectors"),
        ("bgp_peer", PEER | {"remote_as": 1 << 32}, "remote_as"),
        ("bgp_peer", {"peer_ip": "192.0.2.1", "auth_type": "none"}, "remote_as. Reason: 'None' is not an integer"),
        ("bgp_peer", PEER | {"peer_ip": "224.0.0.5"}, "peer_ip '224.0.0.5'"),
        ("bgp_peer", PEER | {"auth_type": "md5"}, "A password must be supplied"),
        ("bgp_peer", PEER | {"auth_type": "md5", "password": "x" * 81}, "password is not of 1 to 80"),
        ("bgp_peer", PEER | {"auth_type": "md5", "password": 'a";'}, "password is not of 1 to 80"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(
    store: Store, admin: Context, create: Create, resource: str, body: Row, rule: str
) -> None:
    with pytest.raises(BadRequest, match=rule) as refused, store.write() as tx:
        create(tx, admin, resource, **body)
    assert not str(body.get("password")).startswith("x") or "xxx" not in refused.value.message


def test_a_password_is_kept_only_for_a_peer_that_asks_for_one(
    store: Store, admin: Context, create: Create, update: Create
) -> None:
    with store.write() as tx:
        open_peer = create(tx, admin, "bgp_peer", **PEER, password="unused")
        closed = create(tx, admin, "bgp_peer", **PEER | {"auth_type": "md5"}, password="secret")
        assert (open_peer["password"], closed["password"]) == (None, "secret")
        assert update(tx, admin, "bgp_peer", closed, password="other")["password"] == "other"
        with pytest.raises(NotFound) as refused:
            update(tx, admin, "bgp_peer", open_peer, password="x")
        assert refused.value.type == "BgpPeerNotAuthenticated"
        with pytest.raises(BadRequest) as missing:
            update(tx, admin, "bgp_peer", closed, password="")
        assert missing.value.type == "InvalidBgpPeerMd5Authentication"
        assert update(tx, admin, "bgp_peer", closed, password=None, name="n")["password"] == "secret"


def refused(tx: Transaction, context: Context, row: Row, name: str, **body: Any) -> str:
    with pytest.raises(PorticoError) as error:
        act(tx, context, row, name, **body)
    return error.value.type


def test_no_host_speaks_with_two_peers_at_one_address(
    store: Store, admin: Context, create: Create, update: Create
) -> None:
    with store.write() as tx:
        one, other = (create(tx, admin, "bgp_speaker", **SPEAKER) for _ in range(2))
        first = create(tx, admin, "bgp_peer", **PEER, **{"portico:hosts": ["h1"]})
        twin = create(tx, admin, "bgp_peer", **PEER, **{"portico:hosts": ["h2"]})
        body = {"bgp_peer_id": first["id"]}
        assert act(tx, admin, one, "add_bgp_peer", **body) == body
        assert refused(tx, admin, one, "add_bgp_peer", **body) == "DuplicateBgpPeerIpException"
        assert refused(tx, admin, one, "add_bgp_peer", bgp_peer_id=twin["id"]) == "DuplicateBgpPeerIpException"
        assert refused(tx, admin, other, "add_bgp_peer", **body) == "DuplicateBgpPeerIpException"
        act(tx, admin, other, "add_bgp_peer", bgp_peer_id=twin["id"])
        with pytest.raises(Conflict, match=r"192\.0\.2\.1"):
            update(tx, admin, "bgp_peer", twin, **{"portico:hosts": []})
        sixth = create(tx, admin, "bgp_peer", **PEER | {"peer_ip": "2001:db8::1"})
        assert refused(tx, admin, one, "add_bgp_peer", bgp_peer_id=sixth["id"]) == "InvalidInput"
        assert act(tx, admin, one, "remove_bgp_peer", **body) == body
        assert refused(tx, admin, one, "remove_bgp_peer", **body) == "BgpSpeakerPeerNotAssociated"
        delete = TABLE["bgp_peer"].delete
        assert delete is not None
        delete(tx, admin, twin)
        assert tx.find("bgp_speaker", id=other["id"])[0]["peers"] == []
        assert refused(tx, admin, one, "add_bgp_peer", bgp_peer_id=twin["id"]) == "BgpPeerNotFound"


def test_bound_ports_addresses_are_announced_by_way_of_their_hosts(
    store: Store, admin: Context, create: Create
) -> None:
    with store.write() as tx:
        hosts(tx, h1={"address_v4": "198.51.100.1", "address_v6": "2001:db8::1"}, h2={"address_v4": "198.51.100.2"})
        speaker = create(tx, admin, "bgp_speaker", **SPEAKER)
        nets = {}
        for number, backend in enumerate(("routed", "routed", "bridge")):
            net = create(tx, admin, "network", name=backend, **{"portico:backend": backend})
            create(tx, admin, "subnet", network_id=net["id"], cidr=f"203.0.113.{number * 64}/26", ip_version=4)
            create(tx, admin, "subnet", network_id=net["id"], cidr=f"2001:db8:{number + 1}::/64", ip_version=6)
            for last, host in ((10, "h1"), (11, "h2"), (12, "")):
                body = {"fixed_ips": [{"ip_address": f"203.0.113.{number * 64 + last}"},
                                      {"ip_address": f"2001:db8:{number + 1}::{last}"}]}  # fmt: skip
                create(tx, admin, "port", network_id=net["id"], **body, **{"binding:host_id": host})
            nets[number] = net
        first = [("203.0.113.10/32", "198.51.100.1"), ("203.0.113.11/32", "198.51.100.2")]
        second = [("203.0.113.74/32", "198.51.100.1"), ("203.0.113.75/32", "198.51.100.2")]
        assert routes(tx, admin, speaker) == first + second
        act(tx, admin, speaker, "add_gateway_network", network_id=nets[1]["id"])
        assert routes(tx, admin, speaker) == second
        act(tx, admin, speaker, "add_gateway_network", network_id=nets[2]["id"])
        act(tx, admin, speaker, "remove_gateway_network", network_id=nets[1]["id"])
        assert routes(tx, admin, speaker) == [], "of a network that no host routes nothing is announced"
        own = {"portico:excluded_hosts": ["h2"]}
        narrow = create(tx, admin, "bgp_speaker", **SPEAKER | {"ip_version": 6}, **own)
        assert routes(tx, admin, narrow) == [
            ("2001:db8:1::10/128", "2001:db8::1"),
            ("2001:db8:2::10/128", "2001:db8::1"),
        ]
        closed = create(tx, admin, "bgp_speaker", **SPEAKER, advertise_tenant_networks=False)
        assert routes(tx, admin, closed) == []


def test_a_network_is_announced_once_and_forgotten_with_its_end(store: Store, admin: Context, create: Create) -> None:
    with store.write() as tx:
        speaker = create(tx, admin, "bgp_speaker", **SPEAKER)
        net = create(tx, admin, "network", name="n", **{"portico:backend": "routed"})
        body = {"network_id": net["id"]}
        assert refused(tx, admin, speaker, "remove_gateway_network", **body) == "BgpSpeakerNetworkNotAssociated"
        assert act(tx, admin, speaker, "add_gateway_network", **body) == body
        assert refused(tx, admin, speaker, "add_gateway_network", **body) == "BgpSpeakerNetworkBindingError"
        act(tx, admin, speaker, "remove_gateway_network", **body)
        create(tx, admin, "subnet", network_id=net["id"], cidr="2001:db8::/64", ip_version=6)
        assert refused(tx, admin, speaker, "add_gateway_network", **body) == "InvalidInput"
        create(tx, admin, "subnet", network_id=net["id"], cidr="203.0.113.0/24", ip_version=4)
        act(tx, admin, speaker, "add_gateway_network", **body)
        delete = TABLE["network"].delete
        assert delete is not None
        delete(tx, admin, net)
        assert tx.find("bgp_speaker", id=speaker["id"])[0]["networks"] == []


def test_a_host_s_block_stands_for_the_addresses_in_it_that_are_its_own(
    store: Store, admin: Context, create: Create
) -> None:
    with store.write() as tx:
        hosts(tx, h1={"address_v4": "198.51.100.1"}, h2={"address_v4": "198.51.100.2"}, h3={})
        speaker = create(tx, admin, "bgp_speaker", **SPEAKER)
        net = create(tx, admin, "network", **{"portico:backend": "routed"})
        create(tx, admin, "subnet", network_id=net["id"], cidr="203.0.113.0/24", ip_version=4)
        ports = [
            create(tx, admin, "port", network_id=net["id"], **{"binding:host_id": host})
            for host in ("h1", "h1", "h2", "h3")
        ]
        blocks = [("203.0.113.0/26", "198.51.100.1"), ("203.0.113.64/26", "198.51.100.2")]
        assert routes(tx, admin, speaker) == blocks
        change = TABLE["port"].update
        assert change is not None
        change(tx, admin, ports[0], {"binding:host_id": "h2"})
        moved = (f"{ports[0]['fixed_ips'][0]['ip_address']}/32", "198.51.100.2")
        assert routes(tx, admin, speaker) == [blocks[0], moved, blocks[1]]
