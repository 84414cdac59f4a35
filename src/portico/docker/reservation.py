# SPDX-License-Identifier: Apache-2.0
"""Addresses between RequestAddress and ReleaseAddress: each is a port that CreateEndpoint makes into an endpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

from portico.docker import use
from portico.docker.api import Api, Object, delete_if_there, seconds_left
from portico.docker.held import Held
from portico.docker.record import PLUGGED, RESERVED, DockerNetwork, host_of
from portico.errors import Conflict, Unavailable

# MAC address taken, address taken, MAC address taken by another one still, done.
CREATE_TRIES = 4

Place = tuple[str, str]  # (subnet id, address)


class Reservations:
    """Thread-safe. What is in memory here saves requests and is never needed.

    Args:
        link_is_here: tells whether a link is in the namespace of this process, and so in no container's.
    """

    def __init__(self, api: Api, host: str, held: Held, link_is_here: Callable[[str], bool]) -> None:
        self._api = api
        self._host = host
        self._held = held
        self._link_is_here = link_is_here
        self._lock = threading.Lock()
        self._ports: dict[Place, Object] = {}
        self._released: set[Place] = set()
        self._turns: dict[str, threading.Lock] = {}

    def make(self, record: DockerNetwork, subnet_id: str, address: str, *, bind: bool) -> str:
        """Reserve `address`, or with an empty one the next that is free, and return it.

        Args:
            bind: let the host prepare the link already, while the engine is still on its way to CreateEndpoint.

        Raises:
            Conflict: it is in use, or none is free.
        """
        if address in record.gateways:
            raise Conflict(f"Address {address} is the gateway of Docker network {record.id}.")
        wanted = {"subnet_id": subnet_id}
        body: Object = {
            "network_id": record.network_id,
            "device_owner": RESERVED,
            "fixed_ips": [wanted],
            "binding:profile": use.profile(use.Use(self._host, record.id)),
        }
        if address:
            wanted["ip_address"] = address
            body["mac_address"] = _mac_of(address)
        if bind:
            body["binding:host_id"] = self._host
        if record.security_groups is not None:
            body["security_groups"] = list(record.security_groups)
        with self.turn(record.network_id):
            port = self._create(record, body, address) if address else self._api.create("ports", body)
        if port is None:
            return address
        self._held.hold(port["id"])
        [fixed_ip] = [item for item in port["fixed_ips"] if item["subnet_id"] == subnet_id]
        with self._lock:
            self._ports[subnet_id, fixed_ip["ip_address"]] = port
        return str(fixed_ip["ip_address"])

    @contextmanager
    def turn(self, network_id: str) -> Iterator[None]:
        """Keep this host from reserving addresses of a network while others are on their way from port to port.

        Raises:
            Unavailable: others have their turn for too long.
        """
        with self._lock:
            lock = self._turns.setdefault(network_id, threading.Lock())
        if not lock.acquire(timeout=seconds_left()):
            raise Unavailable(f"Other addresses of network {network_id} are being given for too long: try again.")
        try:
            yield
        finally:
            lock.release()

    def _create(self, record: DockerNetwork, body: Object, address: str) -> Object | None:
        """Make the port with an address that was asked for; None if a port that nothing uses has it.

        --driver-opt portico.port may name that port next.

        Raises:
            Conflict: the address is in use.
        """
        for _ in range(CREATE_TRIES):
            try:
                return self._api.create("ports", body)
            except Conflict as error:
                if error.type == "MacAddressInUse" and "mac_address" in body:
                    del body["mac_address"]  # somebody gave it to a port by hand, or what was left over has it
                elif error.type == "IpAddressAlreadyAllocated":
                    there = self.holder(record, address)
                    if there is not None and use.is_free(there):
                        return None
                    if there is not None:  # else it went in this moment
                        self._end_left_over(record, there, address)
                    body["mac_address"] = _mac_of(address)
                else:
                    raise
        raise Conflict(f"Address {address} is in use.")

    def _end_left_over(self, record: DockerNetwork, port: Object, address: str) -> None:
        """Take an address from a port that keeps it though nobody has that port any more.

        Raises:
            Conflict: somebody has.
        """
        if not self.is_abandoned(record, port):
            user = f"port {port['id']} ({port['device_owner']} {port['device_id']})".replace(" ( )", "")
            raise Conflict(f"Address {address} is in use by {user}.")
        use.end(self._api, port)

    def is_abandoned(self, record: DockerNetwork, port: Object) -> bool:
        """Tell whether a port of this Docker network is left of a call that failed, or of a process that was killed.

        Its link must be seen in this namespace: one that is in none may be in a container. A reserved port of an
        address family that is not plugged has no link.
        """
        if port["device_owner"] not in (RESERVED, *PLUGGED) or not self._is_ours(record, port):
            return False
        if self._held.endpoint(port["id"]) is not None:
            return False
        link = port["binding:vif_details"].get("link_name")
        return port["device_owner"] == RESERVED if link is None else self._link_is_here(link)

    def _is_ours(self, record: DockerNetwork, port: Object) -> bool:
        return host_of(port) == self._host and use.of(port).network == record.id

    def holder(self, record: DockerNetwork, address: str) -> Object | None:
        """Return the port that has an address on a network."""
        found = self._api.list("ports", network_id=record.network_id, fixed_ips=f"ip_address={address}")
        return found[0] if found else None

    def take(self, record: DockerNetwork, address: str) -> Object | None:
        """Return the port that has an address on a network, and keep it no longer in memory."""
        canonical = str(ip_address(address))
        with self._lock:
            for subnet_id in record.pools.values():
                port = self._ports.pop((subnet_id, canonical), None)
                if port is not None:
                    return port
        port = self.holder(record, canonical)
        return None if port is None or self._held.endpoint(port["id"]) else port

    def put_back(self, ports: Iterable[Object]) -> None:
        """Keep ports in memory again that were taken for an endpoint which came to nothing: ReleaseAddress is next."""
        with self._lock:
            self._ports.update(
                ((item["subnet_id"], item["ip_address"]), port) for port in ports for item in port["fixed_ips"]
            )

    def note_released(self, port: Object) -> None:
        """Remember that the engine's ReleaseAddress of a deleted port is still to come, and has nothing left to do.

        Without this it might hit the next one who got the address.
        """
        with self._lock:
            self._released.update((item["subnet_id"], item["ip_address"]) for item in port["fixed_ips"])

    def release(self, record: DockerNetwork, subnet_id: str, address: str) -> None:
        """Give an address back that no endpoint has; one of an endpoint goes with the endpoint."""
        place = (subnet_id, str(ip_address(address)))
        with self._lock:
            if place in self._released:
                self._released.remove(place)
                return
            port = self._ports.get(place)
        port = port or self.holder(record, place[1])
        if port is not None and port["device_owner"] == RESERVED and self._is_ours(record, port):
            delete_if_there(self._api, "ports", port["id"])
            self._held.drop(port["id"])
            with self._lock:
                if self._ports.get(place) is port:  # else the next one has the address by now
                    del self._ports[place]

    def give_up(self, subnet_id: str, address: str) -> Object | None:
        """Let go of an address whose release could not be carried out; return the port that is still to be deleted."""
        with self._lock:
            port = self._ports.pop((subnet_id, str(ip_address(address))), None)
        if port is not None:
            self._held.drop(port["id"])
        return port

    def clear(self) -> None:
        """Forget what the engine was about to do: it has started anew."""
        with self._lock:
            self._ports.clear()
            self._released.clear()
        self._held.clear()


def _mac_of(address: str) -> str:
    """Return a MAC address made of an IP address that was asked for, as Docker's own networks do it.

    Whoever has the address next has the same MAC address then, and neighbours need not learn a new one.
    """
    return ":".join(f"{octet:02x}" for octet in b"\x02\x42" + ip_address(address).packed[-4:])
