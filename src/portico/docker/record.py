# SPDX-License-Identifier: Apache-2.0
"""Docker's networks as the API keeps them: each is one port, without a place, called its anchor.

The anchor (`device_owner` docker:network, `device_id` the Docker network's id) is created in one request after
everything that it names, so it is the moment from which the Docker network exists. It holds the auxiliary
addresses, keeps people from deleting the network under Docker, and its binding:profile says the rest. Its tags
say which PoolIDs are its own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from portico.docker.api import Api, Object
from portico.errors import NotFound

ANCHOR = "docker:network"
RESERVED = "docker:reserved"
ENDPOINT = "docker:endpoint"
# An endpoint on a port that was there before, and that is given back instead of deleted.
ADOPTED = "docker:adopted"
PLUGGED = (ENDPOINT, ADOPTED)

# Docker's part of a port's binding:profile.
PROFILE = "docker"


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided for a Docker network when it was made.

    `owned` tells whether Portico's network was made for it and goes with it. `pools` maps a PoolID's nonce to the
    subnet. `security_groups` (ids) None: the default group of the project. `gateways` are the addresses that Docker
    takes for its gateways. `dual`: its endpoints have an IPv4 and an IPv6 address each; `unaddressed`: they have none.
    `group` is the security group that was made for it and goes with it. `routed`: it has no L2, each address is routed
    by itself; `default_route`: it may carry a container's. `router` has those of the gateways that are
    `routed_gateways`; it was made for the network, and goes with it, if that is `owned`.
    """

    owned: bool
    pools: Mapping[str, str]
    security_groups: tuple[str, ...] | None
    expose: bool
    gateways: tuple[str, ...] = ()
    dual: bool = False
    unaddressed: bool = False
    group: str = ""
    routed: bool = False
    default_route: bool = True
    router: str = ""
    routed_gateways: tuple[str, ...] = ()


class DockerNetwork(Choices, frozen=True, kw_only=True):
    """A Docker network: `id` is Docker's, `network_id` Portico's."""

    id: str
    anchor_id: str
    network_id: str


class Kept(Choices, frozen=True, kw_only=True):
    """A Docker network in its anchor's profile; `host` is where its engine runs."""

    host: str


def pool_tag(nonce: str) -> str:
    """Return the tag of the anchor that holds a pool."""
    return f"docker:pool:{nonce}"


def anchor(record: DockerNetwork, host: str, fixed_ips: Sequence[Object]) -> Object:
    """Return the body of the anchor port; `fixed_ips` are the auxiliary addresses."""
    kept = msgspec.convert({"host": host, **msgspec.to_builtins(record)}, Kept)
    return {
        "network_id": record.network_id,
        "name": f"docker-{record.id[:12]}",
        "device_owner": ANCHOR,
        "device_id": record.id,
        "fixed_ips": list(fixed_ips),
        "security_groups": [],
        "tags": [pool_tag(nonce) for nonce in record.pools],
        "binding:profile": {PROFILE: msgspec.to_builtins(kept)},
    }


def part(port: Mapping[str, Any]) -> Object:
    """Return Docker's part of a port's binding:profile; empty if it has none."""
    found = (port["binding:profile"] or {}).get(PROFILE)
    return found if isinstance(found, dict) else {}


def host_of(port: Object) -> str:
    """Return the host whose plugin uses a port; empty if none does."""
    return str(part(port).get("host", ""))


def read(port: Object) -> DockerNetwork:
    """Return the Docker network of an anchor port.

    Of an anchor whose profile somebody has overwritten only the ids are left, and it has no pools.
    """
    try:
        kept = msgspec.convert(part(port), Kept)
    except msgspec.ValidationError:
        kept = Kept(host="", owned=False, pools={}, security_groups=None, expose=False)
    ids = {"id": port["device_id"], "anchor_id": port["id"], "network_id": port["network_id"]}
    return msgspec.convert({**ids, **msgspec.to_builtins(kept)}, DockerNetwork)


class Records:
    """Docker's networks of this host, read from the API when they are first asked for. Thread-safe."""

    def __init__(self, api: Api, host: str) -> None:
        self._api = api
        self._host = host
        self._lock = threading.Lock()
        self._by_id: dict[str, DockerNetwork] = {}
        self._by_pool: dict[str, DockerNetwork] = {}

    def find(self, docker_id: str) -> DockerNetwork | None:
        """Return a Docker network by its id."""
        with self._lock:
            known = self._by_id.get(docker_id)
        return known or self._read(device_id=docker_id)

    def get(self, docker_id: str) -> DockerNetwork:
        """Return a Docker network by its id.

        Raises:
            NotFound: Portico does not have it.
        """
        record = self.find(docker_id)
        if record is None:
            raise NotFound(f"Docker network {docker_id} is not known to Portico on host {self._host}.")
        return record

    def of_pool(self, nonce: str) -> DockerNetwork | None:
        """Return the Docker network that has a pool."""
        found = self.known_pool(nonce) or self._read(tags=pool_tag(nonce))
        return found if found and nonce in found.pools else None

    def known_pool(self, nonce: str) -> DockerNetwork | None:
        """Return the Docker network that has a pool if it is in memory."""
        with self._lock:
            return self._by_pool.get(nonce)

    def add(self, record: DockerNetwork) -> None:
        """Keep a network in memory."""
        with self._lock:
            self._by_id[record.id] = record
            self._by_pool.update(dict.fromkeys(record.pools, record))

    def forget(self, docker_id: str) -> None:
        """Drop a network from memory."""
        with self._lock:
            record = self._by_id.pop(docker_id, None)
            for nonce in record.pools if record else ():
                self._by_pool.pop(nonce, None)

    def _read(self, **filters: str) -> DockerNetwork | None:
        found = self._api.list("ports", device_owner=ANCHOR, **filters)
        if not found:
            return None
        record = read(found[0])
        self.add(record)
        return record
