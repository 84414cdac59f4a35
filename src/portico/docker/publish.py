# SPDX-License-Identifier: Apache-2.0
"""Published ports (`docker run -p`): port forwardings of a floating IP that the Docker network has for them.

They are made in ProgramExternalConnectivity, which the engine sends to the one endpoint that carries a container's
default route, and end with RevokeExternalConnectivity, or with the endpoint's port. Which ports of the host are free is
found out here, on the host itself; that no other container of the host has them, the API sees to.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address

import msgspec

from portico import host_port
from portico.docker import group, option, wire
from portico.docker.api import Api, Object, delete_if_there
from portico.docker.option import PortMap
from portico.docker.outside import HOST_TYPE
from portico.docker.record import DockerNetwork, Records
from portico.docker.span import spans
from portico.errors import BadRequest, Conflict, NotFound, PorticoError

# Ports of the host for containers that name none, as the kernel gives them to programs by default (ip-sysctl.rst).
EPHEMERAL = range(32768, 61000)
EPHEMERAL_TRIES = 32
# By several floating IPs the same port may lead to several containers, each by other addresses of the host.
MOST_FLOATING = 3

EVERYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104 (words of the API, nothing is bound to them)

# Tells why a port of the host (protocol, address, port) is not free; empty if it is.
Obstacle = Callable[[str, str, int], str]


class Wish(msgspec.Struct, frozen=True):
    """Ports of a container, and addresses of the host.

    Any of `host_ports` will do for the first of them, and those that follow it for the others; None: any that are free.
    """

    protocol: str
    ports: range
    host_ports: range | None
    addresses: tuple[str, ...]

    def __str__(self) -> str:
        """Return what is to be published, as messages name it."""
        first, last = self.ports[0], self.ports[-1]
        return f"Port {first}/{self.protocol}" if first == last else f"Ports {first}-{last}/{self.protocol}"

    def firsts(self) -> Sequence[int]:
        """Return ports of the host to try for the first: those that were asked for, or some at random."""
        if self.host_ports is not None:
            return self.host_ports
        starts = range(EPHEMERAL[0], EPHEMERAL[-1] + 2 - len(self.ports))
        return random.sample(starts, min(EPHEMERAL_TRIES, len(starts)))

    def sides(self, first: int) -> Object:
        """Return the ports of a port forwarding whose first port of the host is `first`."""
        if len(self.ports) == 1:
            return {"external_port": first, "internal_port": self.ports[0]}
        return {
            "external_port_range": f"{first}:{first + len(self.ports) - 1}",
            "internal_port_range": f"{self.ports[0]}:{self.ports[-1]}",
        }


class Published:
    """Answers the calls of the network driver that concern published ports. Thread-safe."""

    def __init__(
        self,
        api: Api,
        host: str,
        records: Records,
        port_of: Callable[[str], Object | None],
        obstacle: Obstacle = host_port.obstacle,
    ) -> None:
        self._api = api
        self._host = host
        self._records = records
        self._port_of = port_of
        self._obstacle = obstacle
        self._lock = threading.Lock()
        # Of endpoints that this process knows: what was made for them, each with its floating IP.
        self._made: dict[str, list[tuple[str, str]]] = {}

    def program(self, call: wire.External) -> wire.Answer:
        """Publish the ports that a container asks for; all or none.

        Raises:
            Conflict: a port of the host is not free.
        """
        wishes = list(_wishes(option.port_map(call.options)))
        record = self._records.get(call.network_id) if wishes else None
        if record is None or not record.router:
            with self._lock:
                self._made.setdefault(call.endpoint_id, [])
            return {}
        self.revoke(call)  # the engine asks again after it gave up
        port = self._port_of(call.endpoint_id)
        if port is None:
            raise NotFound(f"Endpoint {call.endpoint_id} has no port.")
        external = self._external(record)
        made: list[tuple[str, str]] = []
        try:
            for wish in wishes:
                self._publish(record, external, port, wish, made)
        except PorticoError:
            with suppress(PorticoError):  # they go with the port
                self._remove(made)
            raise
        with self._lock:
            self._made[call.endpoint_id] = made
        return {}

    def revoke(self, call: wire.Endpoint | wire.External) -> wire.Answer:
        """Publish nothing of an endpoint any more."""
        with self._lock:
            made = self._made.pop(call.endpoint_id, None)
        if made is None:
            made = self._look_up(call)
        self._remove(made)
        return {}

    def _look_up(self, call: wire.Endpoint | wire.External) -> list[tuple[str, str]]:
        """Return what a process before this one published for an endpoint."""
        record = self._records.find(call.network_id)
        port = self._port_of(call.endpoint_id) if record and record.router else None
        if record is None or port is None:
            return []
        return [
            (floating["id"], item["id"])
            for floating in self._floating(record)
            for item in self._api.list(
                f"floatingips/{floating['id']}/port_forwardings", internal_port_id=port["id"], fields="id"
            )
        ]

    def _remove(self, made: Sequence[tuple[str, str]]) -> None:
        for floating_id, forwarding_id in made:
            delete_if_there(self._api, f"floatingips/{floating_id}/port_forwardings", forwarding_id)

    def _publish(
        self, record: DockerNetwork, external: Object, port: Object, wish: Wish, made: list[tuple[str, str]]
    ) -> None:
        fixed = next((item["ip_address"] for item in port["fixed_ips"] if ":" not in item["ip_address"]), None)
        if fixed is None:
            raise BadRequest(f"{wish} cannot be published: the container has no IPv4 address.")
        addresses = wish.addresses if is_behind_host(external) else ()
        if not addresses and (own := {*wish.addresses} - {*EVERYWHERE.values()}):
            raise BadRequest(
                f"{wish} cannot be published on {min(own)}: the network's way out is "
                f"'{external['name']}', and not behind the host; it can be published on a floating IP there, without "
                "an address."
            )
        host_ports = wish.host_ports or EPHEMERAL
        why = f"no port of {host_ports[0]} to {host_ports[-1]} is free"
        for number in wish.firsts():
            ports = range(number, number + len(wish.ports))
            found = (self._obstacle(wish.protocol, address, port) for port in ports for address in addresses)
            if trouble := next((item for item in found if item), ""):
                why = trouble
                continue
            body: Object = {
                "protocol": wish.protocol,
                **wish.sides(number),
                "internal_port_id": port["id"],
                "internal_ip_address": fixed,
                "description": group.made_by(self._host),
                "portico:host_addresses": list(addresses),
            }
            try:
                made.append(self._forward(record, external, body))
            except Conflict as error:
                why = error.message
            else:
                return
        raise Conflict(f"{wish} cannot be published: {why}.")

    def _forward(self, record: DockerNetwork, external: Object, body: Object) -> tuple[str, str]:
        """Make a port forwarding, of the first floating IP whose port is free.

        Not behind the host a network has one alone, for its address is what others ask.

        Raises:
            Conflict: another container of the host has the port.
        """
        ours = self._api.list("floatingips", description=group.made_by(self._host), floating_network_id=external["id"])
        known = [item for item in ours if item["router_id"] == record.router] + [item for item in ours if is_free(item)]
        for _ in range(MOST_FLOATING):
            for item in known:
                try:
                    made = self._api.create(f"floatingips/{item['id']}/port_forwardings", body)
                except NotFound:
                    continue  # it went with another network just now
                except BadRequest as error:
                    if "port collision with the external_port_range" in error.message:
                        if not is_behind_host(external):
                            raise self._taken(error) from error
                        continue  # by another address of the host
                    if "port collision with the portico:host_addresses" in error.message:
                        raise self._taken(error) from error
                    raise
                return item["id"], str(made["id"])
            wanted = {"floating_network_id": external["id"], "description": group.made_by(self._host)}
            known = [self._api.create("floatingips", wanted)]
        taken = body.get("external_port") or body["external_port_range"]
        raise Conflict(f"port {taken} is another container's whatever the floating IP")

    def _taken(self, error: BadRequest) -> Conflict:
        """Return why a port cannot be had; the container that has it is named if it has its name already."""
        ours = self._api.list("floatingips", description=group.made_by(self._host))
        ids = {item["internal_port_id"] for floating in ours for item in floating["port_forwardings"]}
        ports = [row for port_id in ids if port_id in error.message for row in self._api.list("ports", id=port_id)]
        named = next((f"container {port['name']} has it: " for port in ports if port["name"]), "")
        return Conflict(named + error.message.rstrip("."))

    def _external(self, record: DockerNetwork) -> Object:
        """Return the network that a Docker network's router has its gateway on.

        Raises:
            Conflict: it has none, or somebody has removed the router.
        """
        routers = self._api.list("routers", id=record.router)
        gateway = routers[0]["external_gateway_info"] if routers else None
        if gateway is None:
            why = "has no gateway outside" if routers else "is gone"
            raise Conflict(f"Ports cannot be published: router {record.router} of Docker network {record.id} {why}.")
        [found] = self._api.list("networks", id=gateway["network_id"])
        return found

    def _floating(self, record: DockerNetwork) -> list[Object]:
        """Return the floating IPs by which a Docker network's containers publish ports now."""
        return self._api.list("floatingips", description=group.made_by(self._host), router_id=record.router)


def is_behind_host(external: Object) -> bool:
    """Tell whether a host publishes ports by an external network; who may not see its type is told if it does not."""
    return bool(external.get("provider:network_type", HOST_TYPE) == HOST_TYPE)


def is_free(floating: Object) -> bool:
    """Tell whether nothing is published by a floating IP."""
    return not floating["router_id"]


def remove_free(api: Api, host: str) -> None:
    """Remove the floating IPs of this host's plugin by which nothing is published any more."""
    for item in api.list("floatingips", description=group.made_by(host)):
        if is_free(item):
            with suppress(Conflict):  # another container has it by now
                delete_if_there(api, "floatingips", item["id"], item["revision_number"])


def _wishes(maps: Sequence[PortMap]) -> Iterator[Wish]:
    """Yield what is to be published: what differs by the host's addresses alone in one, and ports that follow others.

    Raises:
        BadRequest: no host address can be published so.
    """
    wishes: dict[tuple[str, int, range | None], list[str]] = {}
    for item in maps:
        if item.host_address == "::1":
            raise BadRequest(
                f"Port {item.port}/{item.protocol} cannot be published on ::1: the kernel sends nothing from there to "
                "other links; 127.0.0.1 can be had."
            )
        first, last = item.host_port, max(item.host_port, item.host_port_end)
        host_ports = range(first, last + 1) if first else None
        wishes.setdefault((item.protocol, item.port, host_ports), []).extend(_addresses(item.host_address))
    alike: dict[tuple[str, tuple[str, ...], int | None], list[int]] = {}
    for (protocol, port, host_ports), found in wishes.items():
        addresses = tuple(dict.fromkeys(found))
        if host_ports is not None and len(host_ports) > 1:
            yield Wish(protocol, range(port, port + 1), host_ports, addresses)
        else:
            shift = None if host_ports is None else host_ports[0] - port
            alike.setdefault((protocol, addresses, shift), []).append(port)
    for (protocol, addresses, shift), found_ports in alike.items():
        for ports in spans(found_ports):
            host_ports = None if shift is None else range(ports[0] + shift, ports[0] + shift + 1)
            yield Wish(protocol, ports, host_ports, addresses)


def _addresses(text: str) -> Sequence[str]:
    return [str(ip_address(text))] if text else [*EVERYWHERE.values()]
