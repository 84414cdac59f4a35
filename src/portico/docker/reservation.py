# SPDX-License-Identifier: Apache-2.0
"""Addresses between RequestAddress and ReleaseAddress: each is a port that CreateEndpoint makes into an endpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address

from portico.docker import use
from portico.docker.api import Api, Object, delete_if_there, exactly, seconds_left
from portico.docker.held import Held
from portico.docker.pair import Pairs
from portico.docker.record import PLUGGED, RESERVED, DockerNetwork, host_of
from portico.errors import Conflict, NotFound, PorticoError, PreconditionFailed, Unavailable

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
        self._pairs = Pairs()

    def make(self, record: DockerNetwork, subnet_id: str, address: str, version: int) -> str:
        """Reserve `address`, or with an empty one the next of its IP version that is free, and return it.

        The port is bound already: the host prepares the link while the engine is still on its way to CreateEndpoint.
        But of two addresses that are for one endpoint, as far as it can be told, both are on one port, and where it
        cannot be told only the first is bound: an endpoint has one link.

        Raises:
            Conflict: it is in use, or none is free.
        """
        if address in record.gateways:
            raise Conflict(f"Address {address} is the gateway of Docker network {record.id}.")
        wanted = {"subnet_id": subnet_id, **({"ip_address": address} if address else {})}
        if not record.dual:
            return self._given(self._make(record, wanted, bind=True), wanted)
        if version == 6:
            half = self._pairs.take(record.id)
            port = self._complete(record, half.port, wanted) if half and half.port else None
            return self._given(port or self._make(record, wanted, bind=False), wanted)
        half = self._pairs.begin(record.id)
        try:
            port = self._make(record, wanted, bind=True)
        except BaseException:
            self._pairs.give_up(record.id, half)
            raise
        half.port, half.address = port, self._given(port, wanted)
        return half.address

    def _given(self, port: Object | None, wanted: Object) -> str:
        """Keep a port in memory, and return its address that was wanted."""
        if port is None:
            return str(wanted["ip_address"])
        self._held.hold(port["id"])
        self.put_back([port])
        return str(next(item["ip_address"] for item in port["fixed_ips"] if _is_as(item, wanted)))

    def _make(self, record: DockerNetwork, wanted: Object, *, bind: bool) -> Object | None:
        address = wanted.get("ip_address", "")
        body: Object = {
            "network_id": record.network_id,
            "device_owner": RESERVED,
            "fixed_ips": [wanted],
            "binding:profile": use.profile(use.Use(self._host, record.id)),
        }
        if bind:
            body["binding:host_id"] = self._host
        if record.security_groups is not None:
            body["security_groups"] = list(record.security_groups)

        def create(*, with_mac: bool) -> Object:
            mac = {"mac_address": _mac_of(address)} if address and with_mac else {}
            return self._api.create("ports", {**body, **mac})

        with self.turn(record.network_id):
            return self._try(record, address, create)

    def _complete(self, record: DockerNetwork, port: Object, wanted: Object) -> Object | None:
        """Give a reserved port its second address; None if that port went, or has become something else."""

        def add(*, with_mac: bool) -> Object:
            del with_mac  # the port has one
            changes = {"fixed_ips": [*port["fixed_ips"], wanted]}
            return self._api.update("ports", port["id"], changes, port["revision_number"])

        with self.turn(record.network_id), suppress(NotFound, PreconditionFailed):
            return self._try(record, wanted.get("ip_address", ""), add)
        return None

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

    def _try(self, record: DockerNetwork, address: str, give: Callable[..., Object]) -> Object | None:
        """Give a port an address that was asked for, or any; None if a port that nothing uses has it.

        --driver-opt portico.port may name that port next.

        Raises:
            Conflict: the address is in use.
        """
        with_mac = True
        for _ in range(CREATE_TRIES):
            try:
                return give(with_mac=with_mac)
            except Conflict as error:
                if error.type == "MacAddressInUse" and with_mac:
                    with_mac = False  # somebody gave it to a port by hand, or what was left over has it
                elif error.type == "IpAddressAlreadyAllocated" and address:
                    there = self.holder(record, address)
                    if there is not None and use.is_free(there):
                        return None
                    if there is not None:  # else it went in this moment
                        self._end_left_over(record, there, address)
                    with_mac = True
                else:
                    raise
        raise Conflict(f"Address {address} is in use.")

    def _end_left_over(self, record: DockerNetwork, port: Object, address: str) -> None:
        """Take an address from a port that keeps it though nobody has that port any more.

        Raises:
            Conflict: somebody has.
        """
        if not self.is_abandoned(record, port):
            user = f"{port['device_owner']} {port['device_id']}".strip()
            raise Conflict(f"Address {address} is in use by port {port['id']}{f' ({user})' if user else ''}.")
        with suppress(PreconditionFailed):  # it has become something else, which the next try looks at
            use.end(self._api, port, port["revision_number"])

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

    def gather(self, first: Object, rest: Sequence[Object], changes: Object) -> Object:
        """Return the first of reserved ports with the addresses of all, and with `changes`.

        The API has no request that moves an address, so those of the others are nobody's for a moment, in which this
        host waits for its turn. This is for addresses of which it could not be told that they are for one endpoint.

        Raises:
            Conflict: another host took an address in that moment. What it did not take is reserved as before.
        """
        fixed_ips = [item for port in (first, *rest) for item in port["fixed_ips"]]
        with self.turn(first["network_id"]):
            for port in rest:
                delete_if_there(self._api, "ports", port["id"])
                self._held.drop(port["id"])
            try:
                return self._api.update("ports", first["id"], {**changes, "fixed_ips": fixed_ips})
            except PorticoError as error:
                for port in rest:
                    self._restore(port)
                if isinstance(error, Conflict) and error.type == "IpAddressAlreadyAllocated":
                    moved = ", ".join(item["ip_address"] for port in rest for item in port["fixed_ips"])
                    raise Conflict(
                        f"Another host that shares network {first['network_id']} took address {moved} while it was on "
                        f"its way to port {first['id']}: start the container again."
                    ) from error
                raise

    def _restore(self, port: Object) -> None:
        kept = ("network_id", "device_owner", "mac_address", "fixed_ips", "security_groups", "binding:profile")
        with suppress(PorticoError):  # another has the address, or the API is away: then it is nobody's here
            self._held.hold(self._api.create("ports", {name: port[name] for name in kept})["id"])

    def note_released(self, port: Object) -> None:
        """Remember that the engine's ReleaseAddress of a deleted port is still to come, and has nothing left to do.

        Without this it might hit the next one who got the address.
        """
        with self._lock:
            self._released.update((item["subnet_id"], item["ip_address"]) for item in port["fixed_ips"])

    def release(self, record: DockerNetwork, subnet_id: str, address: str) -> None:
        """Give an address back that no endpoint has; one of an endpoint goes with the endpoint."""
        place = (subnet_id, str(ip_address(address)))
        self.end_halves(record, [place[1]])
        with self._lock:
            if place in self._released:
                self._released.remove(place)
                return
        exactly(lambda: self._release(record, place), f"The port of address {place[1]}")

    def _release(self, record: DockerNetwork, place: Place) -> None:
        port = self.holder(record, place[1])
        if port is None or port["device_owner"] != RESERVED or not self._is_ours(record, port):
            return
        if self._held.endpoint(port["id"]):  # an endpoint's, though that is not yet written down
            return
        others = [item for item in port["fixed_ips"] if item["ip_address"] != place[1]]
        if others:
            left = self._api.update("ports", port["id"], {"fixed_ips": others}, port["revision_number"])
        else:
            delete_if_there(self._api, "ports", port["id"], port["revision_number"])
            self._held.drop(port["id"])
        with self._lock:
            if self._ports.get(place, port)["id"] == port["id"]:  # else the next one has the address by now
                self._ports.pop(place, None)
        if others:
            self.put_back([left])

    def end_halves(self, record: DockerNetwork, addresses: Sequence[str]) -> None:
        """Expect no IPv6 address any more for IPv4 addresses, which have one or go."""
        if record.dual:
            self._pairs.end(record.id, addresses)

    def give_up(self, record: DockerNetwork, subnet_id: str, address: str) -> Object | None:
        """Let go of an address whose release could not be carried out; return the port that is still to be deleted."""
        place = (subnet_id, str(ip_address(address)))
        self.end_halves(record, [place[1]])
        with self._lock:
            self._released.discard(place)  # that was it: what comes next is of the next one who has the address
            port = self._ports.pop(place, None)
        if port is not None:
            self._held.drop(port["id"])
        return port

    def clear(self) -> None:
        """Forget what the engine was about to do: it has started anew."""
        with self._lock:
            self._ports.clear()
            self._released.clear()
        self._pairs.clear()
        self._held.clear()


def _is_as(item: Object, wanted: Object) -> bool:
    return all(item[name] == value for name, value in wanted.items())


def _mac_of(address: str) -> str:
    """Return a MAC address made of an IP address that was asked for, as Docker's own networks do it.

    Whoever has the address next has the same MAC address then, and neighbours need not learn a new one.
    """
    return ":".join(f"{octet:02x}" for octet in b"\x02\x42" + ip_address(address).packed[-4:])
