# SPDX-License-Identifier: Apache-2.0
"""Addresses between RequestAddress and ReleaseAddress: each is a port that CreateEndpoint makes into an endpoint."""

from __future__ import annotations

import threading
from ipaddress import ip_address

from portico.docker import use
from portico.docker.api import Api, Object, delete_if_there
from portico.docker.record import RESERVED, DockerNetwork
from portico.errors import Conflict

Place = tuple[str, str]  # (subnet id, address)


class Reservations:
    """Thread-safe. What is in memory here saves requests and is never needed."""

    def __init__(self, api: Api, host: str) -> None:
        self._api = api
        self._host = host
        self._lock = threading.Lock()
        self._ports: dict[Place, Object] = {}
        self._released: set[Place] = set()

    def make(self, record: DockerNetwork, subnet_id: str, address: str, *, bind: bool) -> str:
        """Reserve `address`, or with an empty one the next that is free, and return it.

        Args:
            bind: let the host prepare the link already, while the engine is still on its way to CreateEndpoint.

        Raises:
            Conflict: it is in use, or none is free.
        """
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
        try:
            port = self._api.create("ports", body)
        except Conflict as error:
            if error.type == "MacAddressInUse":  # somebody gave it to a port by hand
                del body["mac_address"]
                port = self._api.create("ports", body)
            elif address and error.type == "IpAddressAlreadyAllocated":
                return self._free_port(record, address)
            else:
                raise
        [fixed_ip] = [item for item in port["fixed_ips"] if item["subnet_id"] == subnet_id]
        with self._lock:
            self._ports[subnet_id, fixed_ip["ip_address"]] = port
        return str(fixed_ip["ip_address"])

    def _free_port(self, record: DockerNetwork, address: str) -> str:
        """Return the address if a port has it that nothing uses: --driver-opt portico.port may name that port next."""
        port = self.holder(record, address)
        if port is None or not use.is_free(port):
            user = f"port {port['id']} ({port['device_owner']} {port['device_id']})" if port else "a port"
            raise Conflict(f"Address {address} is in use by {user.replace(' ( )', '')}.")
        return address

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
        return self.holder(record, canonical)

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
            port = self._ports.pop(place, None)
        port = port or self.holder(record, place[1])
        if port is not None and port["device_owner"] == RESERVED:
            delete_if_there(self._api, "ports", port["id"])

    def clear(self) -> None:
        """Forget what the engine was about to do: it has started anew."""
        with self._lock:
            self._ports.clear()
            self._released.clear()


def _mac_of(address: str) -> str:
    """Return a MAC address made of an IP address that was asked for, as Docker's own networks do it.

    Whoever has the address next has the same MAC address then, and neighbours need not learn a new one.
    """
    return ":".join(f"{octet:02x}" for octet in b"\x02\x42" + ip_address(address).packed[-4:])
