# SPDX-License-Identifier: Apache-2.0
"""The network driver's endpoints: each is a port, bound to this host, with a veth link that the engine moves."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_interface, ip_network
from pathlib import Path

import msgspec

from portico import host_port
from portico.docker import group, host_route, link, option, route, use, wire
from portico.docker.api import ANSWER_WITHIN_S, Api, Object, exactly, find
from portico.docker.held import Held
from portico.docker.next_hop import NextHops
from portico.docker.option import EndpointOptions, ExposedPort
from portico.docker.pool import IpNetwork
from portico.docker.record import ADOPTED, ENDPOINT, PLUGGED, RESERVED, DockerNetwork, Records, host_of
from portico.docker.reservation import Reservations
from portico.docker.span import spans
from portico.errors import BadRequest, Conflict, NotFound, PorticoError, Unavailable

# How long the agent may take to make the link; it takes some 10 ms when it runs.
PLUG_WITHIN_S = 8
UNBOUND = "unbound"
# How long the API holds one question back; it is asked again, because one that hangs must be found out.
ASK_FOR_S = 1


class Surroundings(msgspec.Struct, frozen=True):
    """What the drivers need of the process and its host.

    `link_is_made` waits a moment for a link with a MAC address, `later` has a thing done soon, `link_is_here` tells
    whether a link is in the namespace of the process, `held` are the ports that the process has in hand,
    `obstacle` tells why a port of the host is not free, `routes` what it has routes to of an IP version,
    `beside` in which network it is that overlaps another.
    """

    link_is_made: Callable[[str, str], bool]
    later: Callable[[Callable[[], None]], None]
    link_is_here: Callable[[str], bool] = link.is_here
    held: Held = msgspec.field(default_factory=Held)
    obstacle: Callable[[str, str, int], str] = host_port.obstacle
    routes: Callable[[int], Collection[IpNetwork]] = host_route.networks
    beside: Callable[[IpNetwork], str] = host_route.beside


class Endpoints:
    """Answers the calls of the network driver that concern endpoints."""

    def __init__(
        self, api: Api, host: str, records: Records, reservations: Reservations, surroundings: Surroundings
    ) -> None:
        self._api = api
        self._surroundings = surroundings
        self._host = host
        self._records = records
        self._reservations = reservations
        self._lock = threading.Lock()
        self._ports: dict[str, Object] = {}
        self._unwritten: dict[str, Object] = {}
        self._next_hops = NextHops()

    def create(self, call: wire.CreateEndpoint) -> wire.Answer:
        """Make the reserved addresses, or the existing port that --driver-opt names, into an endpoint."""
        record = self._records.get(call.network_id)
        options = option.of_endpoint(call.options)
        wanted = call.interface or wire.Interface()
        with self._lock:
            port = self._ports.get(call.endpoint_id)
        if port is None:
            if not (record.unaddressed or _addresses(wanted)):
                raise BadRequest("The endpoint has no address: Portico gives one for each address family of a network.")
            self._reservations.end_halves(record, _addresses(wanted))
            if options.port:
                port = self._adopt(record, call.endpoint_id, wanted, options)
            elif record.unaddressed:
                port = self._make(record, call.endpoint_id, wanted.mac_address.lower(), options)
            else:
                port = self._claim(record, call.endpoint_id, wanted, options)
            self._surroundings.held.hold(port["id"], call.endpoint_id)
            if port["device_owner"] != ADOPTED:  # people may give that one to another: the API is asked each time
                with self._lock:
                    self._ports[call.endpoint_id] = port
        given = {} if wanted.mac_address else {"MacAddress": port["mac_address"]}
        if record.unaddressed and port["fixed_ips"]:
            given |= self._addresses_of(port)
        return {"Interface": given} if given else {}

    def _addresses_of(self, port: Object) -> Object:
        """Return the addresses that an existing port had before: nobody asked for one, so the driver may give them."""
        found: Object = {}
        for item in port["fixed_ips"]:
            [subnet] = self._api.list("subnets", id=item["subnet_id"])
            name = "AddressIPv6" if subnet["ip_version"] == 6 else "Address"
            net = ip_network(subnet["cidr"])
            length = net.max_prefixlen if route.is_routed(port) else net.prefixlen
            found.setdefault(name, f"{item['ip_address']}/{length}")
        return found

    def _make(self, record: DockerNetwork, endpoint_id: str, mac: str, options: EndpointOptions) -> Object:
        """Make a port without addresses; nothing was asked for before that could have been one."""
        groups = group.resolve(self._api, options.security_groups)
        groups = record.security_groups if groups is None else groups
        body: Object = {
            "network_id": record.network_id,
            "fixed_ips": [],
            **self._plugged(endpoint_id, use.Use(self._host, record.id)),
        }
        if mac:
            body["mac_address"] = mac
        if groups is not None:
            body["security_groups"] = list(groups)
        port = self._api.create("ports", body)
        if not (ports := _opened(record, options)):
            return port
        try:
            opened = self._open(endpoint_id, ports)
            how = use.Use(self._host, record.id, opened)
            wider = {"security_groups": [*port["security_groups"], opened], "binding:profile": use.profile(how)}
            return self._api.update("ports", port["id"], wider)
        except PorticoError:
            use.end(self._api, port, None)
            raise

    def _claim(
        self, record: DockerNetwork, endpoint_id: str, wanted: wire.Interface, options: EndpointOptions
    ) -> Object:
        ports: list[Object] = []
        for address in _addresses(wanted):
            port = self._reservations.take(record, address)
            if port is not None and port["device_id"] == endpoint_id:
                return port
            if port is None or port["device_owner"] != RESERVED:
                hint = f": to use port {port['id']}, give --driver-opt {option.PORT}={port['id']}" if port else ""
                raise Conflict(f"Address {address} was not reserved for endpoint {endpoint_id}{hint}.")
            if port["id"] not in (item["id"] for item in ports):
                ports.append(port)
        try:
            return self._plug(record, endpoint_id, ports, wanted.mac_address.lower(), options)
        except PorticoError:
            self._reservations.put_back(ports)
            raise

    def _plug(
        self, record: DockerNetwork, endpoint_id: str, ports: Sequence[Object], mac: str, options: EndpointOptions
    ) -> Object:
        groups = group.resolve(self._api, options.security_groups)
        opened = ""
        if ports_opened := _opened(record, options):
            opened = self._open(endpoint_id, ports_opened)
            groups = (*(ports[0]["security_groups"] if groups is None else groups), opened)
        changes = self._plugged(endpoint_id, use.Use(self._host, record.id, opened))
        if groups is not None:
            changes["security_groups"] = list(groups)
        is_bound = ports[0]["binding:host_id"] == self._host
        if len(ports) == 1 and is_bound and groups is None and mac in ("", ports[0]["mac_address"]):
            # Only who uses the port is left to write: that can wait until the container is on its way (see `join`).
            with self._lock:
                self._unwritten[endpoint_id] = changes
            return ports[0]
        try:
            return self._settle(ports, mac, changes)
        except PorticoError:
            if opened:
                self._api.delete("security_groups", opened)
            raise

    def _plugged(self, endpoint_id: str, how: use.Use) -> Object:
        return {
            "device_id": endpoint_id,
            "device_owner": ENDPOINT,
            "binding:host_id": self._host,
            "binding:profile": use.profile(how),
        }

    def _settle(self, ports: Sequence[Object], mac: str, changes: Object) -> Object:
        """Return the endpoint's port: the first of the reserved ones, with the addresses of all."""
        first, *rest = ports
        if mac not in ("", first["mac_address"]):
            # That of a port which is bound cannot change; its addresses stay where they are meanwhile.
            self._api.update("ports", first["id"], {"binding:host_id": ""})
            first = self._api.update("ports", first["id"], {"mac_address": mac})
        if rest:
            return self._reservations.gather(first, rest, changes)
        return self._api.update("ports", first["id"], changes)

    def _open(self, endpoint_id: str, exposed: Sequence[ExposedPort]) -> str:
        """Make the security group that lets everybody in to the exposed ports."""
        lets_in = [
            {"protocol": protocol, "port_range_min": ports[0], "port_range_max": ports[-1]}
            for protocol in sorted({item.protocol for item in exposed})
            for ports in spans(item.port for item in exposed if item.protocol == protocol)
        ]
        return group.make(self._api, self._host, endpoint_id, lets_in)

    def _adopt(
        self, record: DockerNetwork, endpoint_id: str, wanted: wire.Interface, options: EndpointOptions
    ) -> Object:
        if options.security_groups is not None or options.expose:
            raise BadRequest(
                f"--driver-opt {option.PORT} {options.port}: an existing port has its security groups already."
            )
        named = f"Port {options.port}"
        return exactly(lambda: self._adopt_as_seen(record, endpoint_id, wanted, options.port), named)

    def _adopt_as_seen(self, record: DockerNetwork, endpoint_id: str, wanted: wire.Interface, word: str) -> Object:
        """Make an existing port the endpoint's, if nothing has used it up to that very request.

        Raises:
            Conflict: something uses it, or it is not what Docker wants.
            PreconditionFailed: it has changed after the look at it.
        """
        port = find(self._api, "ports", word, network_id=record.network_id)
        if port["device_id"] == endpoint_id:
            return port
        if not use.is_free(port):
            host = host_of(port) or port["binding:host_id"]
            where = f" on host {host}" if host else ""
            raise Conflict(f"Port {port['id']} is in use by {port['device_owner']} {port['device_id']}{where}.")
        have = [item["ip_address"] for item in port["fixed_ips"]]
        for address in _addresses(wanted):
            if address not in have:
                raise Conflict(
                    f"Port {port['id']} has the addresses {', '.join(have) or 'none'}, and Docker wants {address} for "
                    "the container: give the port's with --ip and --ip6, or make the Docker network with --ipam-driver "
                    "null."
                )
        if wanted.mac_address and wanted.mac_address.lower() != port["mac_address"]:
            raise Conflict(f"Port {port['id']} has MAC address {port['mac_address']}, not {wanted.mac_address}.")
        how = use.Use(self._host, record.id, adopted=port["binding:profile"] or {})
        changes = {**self._plugged(endpoint_id, how), "device_owner": ADOPTED}
        return self._api.update("ports", port["id"], changes, port["revision_number"])

    def join(self, call: wire.Endpoint) -> wire.Answer:
        """Return the link of an endpoint as soon as the engine can have it, and the routes of a routed network.

        Others have the gateways that a router holds. DisableGatewayService keeps the engine's own second link away.

        A running container gets its link at once, so the port must carry traffic by then. One that is about to start
        has no namespace yet, and 100 ms before it does: there the link itself is enough.
        """
        port = self.port(call.endpoint_id) or self._found_again(call)
        if port["binding:vif_type"] == UNBOUND:
            # Another network service decides how it is reached: until then there is nothing to wait for but its status.
            self._wait_until_active(port)
            [port] = self._api.list("ports", id=port["id"])
        name = port["binding:vif_details"].get("link_name")
        if name is None:
            raise Conflict(f"Port {port['id']}: {self._status(port, 'timeout_s=0')['reason']}")
        routes = self._routes(call, port) if route.is_routed(port) else self._gateways(call, port)
        is_starting = not Path(call.sandbox_key).exists()
        if not (self._surroundings.link_is_made(name, port["mac_address"]) and is_starting):
            self._wait_until_active(port)
        self._surroundings.later(lambda: self._write(call.endpoint_id))
        return {"InterfaceName": {"SrcName": name, "DstPrefix": "eth"}, "DisableGatewayService": True, **routes}

    def _gateways(self, call: wire.Endpoint, port: Object) -> wire.Answer:
        """Return the gateways of an L2 network that a router holds, of the IP versions that the port has."""
        return route.by_router(port, self._records.get(call.network_id).routed_gateways)

    def _routes(self, call: wire.Endpoint, port: Object) -> wire.Answer:
        record = self._records.get(call.network_id)
        second = self._next_hops.takes_second(call)
        subnets = self._api.list("subnets", network_id=port["network_id"], fields="cidr")
        cidrs = [subnet["cidr"] for subnet in subnets]
        return route.to_join(port, cidrs, default_route=record.default_route, second=second)

    def _found_again(self, call: wire.Endpoint) -> Object:
        """Return the port of an endpoint that was created by a process before this one and not yet written down.

        Join says neither address nor MAC address, so it must be the only port of the Docker network in this state.

        Raises:
            NotFound: it cannot be told.
            Conflict: there is none, and not because of a restart.
        """
        if self._surroundings.held.has_endpoint(call.endpoint_id):
            raise Conflict(f"The port of endpoint {call.endpoint_id} was taken by another host, or deleted.")
        record = self._records.get(call.network_id)
        found = self._api.list("ports", network_id=record.network_id, device_owner=RESERVED)
        found = [port for port in found if self._reservations.is_abandoned(record, port) and port["binding:host_id"]]
        if len(found) != 1:
            raise NotFound(
                f"Endpoint {call.endpoint_id} is not known to Portico: the plugin was restarted while the container "
                "was starting: start it again."
            )
        [port] = found
        self._surroundings.held.hold(port["id"], call.endpoint_id)
        with self._lock:
            self._ports[call.endpoint_id] = port
            self._unwritten[call.endpoint_id] = self._plugged(call.endpoint_id, use.Use(self._host, record.id))
        return port

    def _write(self, endpoint_id: str) -> None:
        """Write down who uses a port.

        If a crash comes first, the port stays a reserved one: the sweep leaves it alone while its link is in a
        container and writes it down, and ReleaseAddress ends it.

        Raises:
            Unavailable: the API does not answer; it is still to be written.
        """
        with self._lock:
            changes = self._unwritten.get(endpoint_id)
            port = self._ports.get(endpoint_id)
        if changes is not None and port is not None:
            with contextlib.suppress(NotFound):  # the endpoint is gone already
                self._api.update("ports", port["id"], changes)
            with self._lock:
                self._unwritten.pop(endpoint_id, None)

    def _status(self, port: Object, query: str) -> Object:
        found: Object = self._api.request("GET", f"/portico/v1/ports/{port['id']}/status?{query}")
        return found

    def _wait_until_active(self, port: Object) -> None:
        for _ in range(0, PLUG_WITHIN_S, ASK_FOR_S):
            with self._api.within(ANSWER_WITHIN_S):
                found = self._status(port, f"wait=ACTIVE&timeout_s={ASK_FOR_S}")
            if found["status"] == "ACTIVE":
                return
        reason = found["reason"] or f"the agent of host {self._host} has not plugged it; does it run?"
        raise Unavailable(f"Port {port['id']} is {found['status']} after {PLUG_WITHIN_S} s: {reason}")

    def leave(self, _call: wire.Endpoint) -> wire.Answer:
        """Do nothing: the engine gives the link back, and the port goes with the endpoint."""
        return {}

    def operational_info(self, _call: wire.Endpoint) -> wire.Answer:
        """Return nothing: the engine has no use for what a remote driver says here."""
        return {"Value": {}}

    def delete(self, call: wire.Endpoint) -> wire.Answer:
        """Delete an endpoint's port, or give it back if it was there before."""
        port = self._end(call.endpoint_id)
        if port is not None and use.adopted(port) is None:
            self._reservations.note_released(port)
        return {}

    def delete_later(self, call: wire.Endpoint) -> None:
        """Have an endpoint's port deleted as soon as the API answers: the engine does not ask again."""
        self._surroundings.held.drop_endpoint(call.endpoint_id)

        def end() -> None:
            self._end(call.endpoint_id)

        self._surroundings.later(end)

    def _end(self, endpoint_id: str) -> Object | None:
        return exactly(lambda: self._end_as_seen(endpoint_id), f"The port of endpoint {endpoint_id}")

    def _end_as_seen(self, endpoint_id: str) -> Object | None:
        with self._lock:
            ours = endpoint_id in self._ports  # and whatever it has become: nobody else may have it
        port = self.port(endpoint_id)
        if port is not None:
            use.end(self._api, port, None if ours else port["revision_number"])
            self._surroundings.held.drop(port["id"])
            self._next_hops.drop(endpoint_id)
            with self._lock:
                self._ports.pop(endpoint_id, None)
                self._unwritten.pop(endpoint_id, None)
        return port

    def port(self, endpoint_id: str) -> Object | None:
        """Return the port of an endpoint; None if there is none."""
        with self._lock:
            known = self._ports.get(endpoint_id)
        if known is not None:
            return known
        found = self._api.list("ports", device_id=endpoint_id, device_owner=PLUGGED)
        return found[0] if found else None


def _addresses(wanted: wire.Interface) -> list[str]:
    return [str(ip_interface(text).ip) for text in (wanted.address, wanted.address_ipv6) if text]


def _opened(record: DockerNetwork, options: EndpointOptions) -> tuple[ExposedPort, ...]:
    """Return the ports that everybody is let in to: exposed ones where that was asked for, else published ones.

    These only where nobody has chosen groups, which then decide.
    """
    if record.expose if options.expose is None else options.expose:
        return options.exposed
    chosen = options.expose is False or not (record.security_groups is None and options.security_groups is None)
    return () if chosen or not record.router else options.published
