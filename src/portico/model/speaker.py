# SPDX-License-Identifier: Apache-2.0
"""BGP speakers and peers as typed values, and how they are read from rows in the API's shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address

import msgspec

from portico.model.address import IpAddress, Row


class BgpSpeaker(msgspec.Struct, frozen=True):
    """What hosts say in BGP. See `portico.model.bgp`.

    `announces_tenants`: all routed networks, if it names none, and else what is behind the routers of those it names;
    `announces_floating`: floating IPs of such routers.
    """

    id: str
    local_as: int
    ip_version: int
    peer_ids: tuple[str, ...]
    network_ids: tuple[str, ...]
    announces_tenants: bool
    announces_floating: bool
    mode: str
    reflectors: tuple[str, ...]
    excluded_hosts: tuple[str, ...]
    bfd: bool
    graceful_restart: bool
    communities: tuple[str, ...]


class BgpPeer(msgspec.Struct, frozen=True):
    """A router outside; `hosts` speak with it, all if there are none named. No `password`: it asks for none."""

    id: str
    address: IpAddress
    remote_as: int
    password: str
    bfd: bool
    hosts: tuple[str, ...]


def _bgp_speaker(row: Row) -> BgpSpeaker:
    return BgpSpeaker(
        id=row["id"],
        local_as=row["local_as"],
        ip_version=row["ip_version"],
        peer_ids=tuple(row["peers"]),
        network_ids=tuple(row["networks"]),
        announces_tenants=row["advertise_tenant_networks"],
        announces_floating=row["advertise_floating_ip_host_routes"],
        mode=row["portico:mode"],
        reflectors=tuple(row["portico:reflectors"]),
        excluded_hosts=tuple(row["portico:excluded_hosts"]),
        bfd=row["portico:bfd"],
        graceful_restart=row["portico:graceful_restart"],
        communities=tuple(row["portico:communities"]),
    )


def _bgp_peer(row: Row) -> BgpPeer:
    return BgpPeer(
        id=row["id"],
        address=ip_address(row["peer_ip"]),
        remote_as=row["remote_as"],
        password=row["password"] or "",
        bfd=row["portico:bfd"],
        hosts=tuple(row["portico:hosts"]),
    )


READERS: Mapping[str, Callable[[Row], BgpSpeaker | BgpPeer]] = {"bgp_speaker": _bgp_speaker, "bgp_peer": _bgp_peer}
