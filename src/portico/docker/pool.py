# SPDX-License-Identifier: Apache-2.0
"""Address pools of Docker: their ids, and those that are being made into a network at this moment.

The engine asks for a pool before it creates the network, and the network does not learn its PoolID. So a new pool is
held in memory only, until CreateNetwork finds it by its prefix and writes everything to the API: an engine or plugin
that dies in between leaves nothing behind. Two networks with the same prefix are told apart by taking turns.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import msgspec

from portico.docker.api import seconds_left
from portico.errors import BadRequest, Conflict, Unavailable

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

# How long a pool waits for its turn; creating a network takes some 10 ms.
TURN_S = 1.5
# After this the engine that wanted a pool has forgotten it (it retries a call for 15 s).
FORGOTTEN_S = 60.0


class PoolId(msgspec.Struct, frozen=True):
    """A PoolID taken apart. It says what the pool is and, by `nonce`, which one of equal ones."""

    cidr: IpNetwork
    nonce: str
    ip_range: IpNetwork | None = None

    def __str__(self) -> str:
        """Return the PoolID as Docker keeps it."""
        return f"{self.cidr},{self.ip_range or ''},{self.nonce}"


def new_id(cidr: IpNetwork, ip_range: IpNetwork | None) -> PoolId:
    """Return the id of a new pool."""
    return PoolId(cidr, os.urandom(8).hex(), ip_range)


def parse_id(text: str) -> PoolId:
    """Return the PoolID that Docker kept.

    Raises:
        BadRequest: it is none of Portico's.
    """
    try:
        cidr, ip_range, nonce = text.split(",")
        return PoolId(ip_network(cidr), nonce, ip_network(ip_range) if ip_range else None)
    except ValueError as error:
        raise BadRequest(f"PoolID '{text}' is none of Portico's: {error}.") from error


class Pending(msgspec.Struct, frozen=True):
    """A pool whose network does not exist yet.

    `subnet` is the existing subnet that --ipam-opt named. `subnetpool_id` is where Portico took the prefix from.
    """

    pool: PoolId
    moment_s: float
    subnet: dict[str, object] | None = None
    subnetpool_id: str | None = None


class PendingPools:
    """The pools whose networks do not exist yet. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pools: dict[str, Pending] = {}
        self._asked_gateways: dict[str, IpAddress] = {}

    def add(self, pending: Pending) -> None:
        """Take in a new pool; one with the same prefix that is on its way goes first.

        Raises:
            Unavailable: the other one stays on its way.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(pending.pool.cidr), min(TURN_S, seconds_left())):
                raise Unavailable(
                    f"Another Docker network with subnet {pending.pool.cidr} is being created just now: try again."
                )
            self._pools[pending.pool.nonce] = pending

    def _is_free(self, cidr: IpNetwork) -> bool:
        deadline = time.monotonic() - FORGOTTEN_S
        return all(item.pool.cidr != cidr or item.moment_s < deadline for item in self._pools.values())

    def get(self, nonce: str) -> Pending | None:
        """Return a pool that is on its way."""
        with self._changed:
            return self._pools.get(nonce)

    def ask_gateway(self, nonce: str, gateway: IpAddress) -> None:
        """Remember that the user named a pool's gateway."""
        with self._changed:
            self._asked_gateways[nonce] = gateway

    def asked_gateway(self, nonce: str) -> IpAddress | None:
        """Return the gateway that the user named."""
        with self._changed:
            return self._asked_gateways.get(nonce)

    def prefixes(self) -> set[IpNetwork]:
        """Return the prefixes of all pools that are on their way."""
        with self._changed:
            return {item.pool.cidr for item in self._pools.values()}

    def newest(self, cidr: IpNetwork) -> Pending:
        """Return the pool with this prefix that was asked for last.

        Raises:
            Conflict: none is on its way.
        """
        with self._changed:
            found = [item for item in self._pools.values() if item.pool.cidr == cidr]
        if not found:
            raise Conflict(
                f"Subnet {cidr} was not requested from this plugin: create the network with --ipam-driver portico; if "
                "you did, the plugin was restarted in between: create it again."
            )
        return max(found, key=lambda item: item.moment_s)

    def drop(self, nonces: Collection[str]) -> None:
        """Forget pools: they have their network now, or never will."""
        with self._changed:
            for nonce in nonces:
                self._pools.pop(nonce, None)
                self._asked_gateways.pop(nonce, None)
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget all pools: the engine has started anew and creates nothing."""
        with self._changed:
            self._pools.clear()
            self._asked_gateways.clear()
            self._changed.notify_all()
