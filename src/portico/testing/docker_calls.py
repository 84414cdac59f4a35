# SPDX-License-Identifier: Apache-2.0
"""The calls that a Docker Engine makes of its remote drivers, in its order, without an engine.

Order and bodies are those of moby 20.10 (libnetwork/network.go, endpoint.go, drivers/remote, ipams/remote), as seen on
the wire.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from portico.docker.api import Api
from portico.docker.endpoint import Surroundings
from portico.docker.plugin import Plugin
from portico.docker.pool import IpNetwork
from portico.docker.record import Records
from portico.errors import Unavailable
from portico.settings import Settings

Object = dict[str, Any]


class CallFailed(Exception):
    """What the user of the engine would read."""


class EngineNetwork(msgspec.Struct):
    """A network as the engine keeps it: `pools` are PoolID, prefix, gateway (CIDR) and auxiliary addresses.

    It has none where the engine's own null IPAM driver, which gives no addresses, answers the engine.
    """

    id: str
    pools: list[tuple[str, str, str, dict[str, str]]]


class EngineEndpoint(msgspec.Struct):
    """An endpoint as the engine keeps it. `addresses` are PoolID and CIDR; `link` is the link after Join."""

    id: str
    network: EngineNetwork
    addresses: list[tuple[str, str]]
    mac: str = ""
    link: str = ""


class EngineCalls:
    """Makes calls of a plugin in this process. `after` is called after each with its name, and may raise."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self.links_are_made = False
        self.links_are_here = False
        self.taken: set[tuple[str, int]] = set()
        """Ports of the host that programs have, by protocol and number."""
        self.routes: set[IpNetwork] = set()
        """What the host has routes to."""
        self.waiting: list[Callable[[], None]] = []
        self.after: Callable[[str], None] = lambda _name: None
        self.networks: dict[str, EngineNetwork] = {}
        self.endpoints: dict[str, EngineEndpoint] = {}
        self.restart_plugin()

    def restart_plugin(self) -> None:
        """Lose everything that the plugin has in memory, as SIGKILL does."""
        self.records = Records(self._api, self._settings.host)
        self.waiting.clear()
        surroundings = Surroundings(
            lambda _link, _mac: self.links_are_made,
            self._later,
            link_is_here=lambda _link: self.links_are_here,
            obstacle=lambda protocol, _, port: f"a program has {port}" if (protocol, port) in self.taken else "",
            routes=lambda _version: self.routes,
            beside=lambda net: next((str(route) for route in self.routes if route.overlaps(net)), ""),
        )
        self.held = surroundings.held
        self.plugin = Plugin(self._api, self._settings, self.records, lambda: None, surroundings)

    def _later(self, thing: Callable[[], None]) -> None:
        try:
            thing()
        except Unavailable:
            self.waiting.append(thing)

    def do_what_waits(self) -> None:
        """Do what the plugin wanted to do as soon as the API answers."""
        waiting, self.waiting = self.waiting, []
        for thing in waiting:
            thing()

    def call(self, name: str, **body: object) -> Object:
        """Make one call and return the answer.

        Raises:
            CallFailed: the plugin answered with an error.
        """
        status, raw = self.plugin.answer(f"/{name}", msgspec.json.encode(body) + b"\n")
        answer: Object = msgspec.json.decode(raw)
        if status != 200:
            raise CallFailed(answer["Err"])
        self.after(name)
        return answer

    def create_network(
        self,
        *subnets: str,
        version6: Sequence[str] = (),
        options: Mapping[str, str] | None = None,
        ipam_options: Mapping[str, str] | None = None,
        gateway: str = "",
        ip_range: str = "",
        auxiliary: Mapping[str, str] | None = None,
        internal: bool = False,
    ) -> EngineNetwork:
        """Do what `docker network create` does; gateway, range and auxiliary addresses are for the first subnet."""
        network = EngineNetwork(secrets.token_hex(32), [])
        try:
            for position, (subnet, v6) in enumerate([*((s, False) for s in subnets), *((s, True) for s in version6)]):
                first = position == 0
                self._request_pool(
                    network,
                    {"Pool": subnet, "SubPool": ip_range if first else "", "Options": ipam_options or {}, "V6": v6},
                    gateway if first else "",
                    (auxiliary or {}) if first else {},
                )
            generic = {"com.docker.network.generic": options or {}, "com.docker.network.enable_ipv6": bool(version6)}
            data = [
                {"AddressSpace": "portico-local", "Pool": cidr, "Gateway": gw, "AuxAddresses": aux}
                for _, cidr, gw, aux in network.pools
            ]
            self.call(
                "NetworkDriver.CreateNetwork",
                NetworkID=network.id,
                Options=generic | ({"com.docker.network.internal": True} if internal else {}),
                IPv4Data=[item for item in data if ":" not in str(item["Pool"])],
                IPv6Data=[item for item in data if ":" in str(item["Pool"])],
            )
        except CallFailed:
            self._release(network)
            raise
        self.networks[network.id] = network
        return network

    def create_unaddressed_network(self, options: Mapping[str, str] | None = None) -> EngineNetwork:
        """Do what `docker network create --ipam-driver null` does."""
        network = EngineNetwork(secrets.token_hex(32), [])
        self.call(
            "NetworkDriver.CreateNetwork",
            NetworkID=network.id,
            Options={"com.docker.network.generic": options or {}, "com.docker.network.enable_ipv6": False},
            IPv4Data=[{"AddressSpace": "null", "Pool": "0.0.0.0/0"}],
            IPv6Data=[],
        )
        self.networks[network.id] = network
        return network

    def _request_pool(self, network: EngineNetwork, body: Object, gateway: str, auxiliary: Mapping[str, str]) -> None:
        pool = self.call("IpamDriver.RequestPool", AddressSpace="portico-local", **body)
        network.pools.append((pool["PoolID"], pool["Pool"], "", {}))
        asked = {"RequestAddressType": "com.docker.network.gateway"}
        found = self.call("IpamDriver.RequestAddress", PoolID=pool["PoolID"], Address=gateway, Options=asked)
        reserved = {
            name: self.call("IpamDriver.RequestAddress", PoolID=pool["PoolID"], Address=address, Options=None)[
                "Address"
            ]
            for name, address in auxiliary.items()
        }
        network.pools[-1] = (pool["PoolID"], pool["Pool"], found["Address"], reserved)

    def _release(self, network: EngineNetwork) -> None:
        for pool_id, _, gateway, auxiliary in network.pools:
            for address in [gateway, *auxiliary.values()]:
                if address:
                    self.call("IpamDriver.ReleaseAddress", PoolID=pool_id, Address=address.partition("/")[0])
            self.call("IpamDriver.ReleasePool", PoolID=pool_id)

    def remove_network(self, network: EngineNetwork) -> None:
        """Do what `docker network rm` does."""
        self._release(network)
        self.call("NetworkDriver.DeleteNetwork", NetworkID=network.id)
        self.networks.pop(network.id, None)

    def connect(
        self,
        network: EngineNetwork,
        *addresses: str,
        mac: str = "",
        options: Mapping[str, object] | None = None,
    ) -> EngineEndpoint:
        """Do what the start of a container does: addresses, CreateEndpoint, Join. Returns the endpoint."""
        endpoint = EngineEndpoint(secrets.token_hex(32), network, [])
        created = False
        try:
            for version in (":" in cidr for cidr in ("", ":")):
                self._request_address(endpoint, addresses, version6=version)
            self._create_endpoint(endpoint, mac, options or {})
            created = True
            joined = self.call(
                "NetworkDriver.Join",
                NetworkID=network.id,
                EndpointID=endpoint.id,
                SandboxKey=f"/var/run/docker/netns/{endpoint.id[:12]}",
                Options={},
            )
        except CallFailed:
            if created:
                self.call("NetworkDriver.DeleteEndpoint", NetworkID=network.id, EndpointID=endpoint.id)
            self._release_addresses(endpoint)
            raise
        endpoint.link = joined["InterfaceName"]["SrcName"]
        self.endpoints[endpoint.id] = endpoint
        return endpoint

    def _request_address(self, endpoint: EngineEndpoint, wanted: Sequence[str], *, version6: bool) -> None:
        pools = [pool for pool in endpoint.network.pools if (":" in pool[1]) == version6]
        address = next((item for item in wanted if (":" in item) == version6), "")
        if address:  # it chooses the pool
            pools = [pool for pool in pools if ip_address(address) in ip_network(pool[1])]
        if pools:
            found = self.call("IpamDriver.RequestAddress", PoolID=pools[0][0], Address=address, Options=None)
            endpoint.addresses.append((pools[0][0], found["Address"]))

    def _create_endpoint(self, endpoint: EngineEndpoint, mac: str, options: Mapping[str, object]) -> None:
        by_version = {":" in cidr: cidr for _, cidr in endpoint.addresses}
        addresses = {"Address": by_version.get(False, ""), "AddressIPv6": by_version.get(True, "")}
        answer = self.call(
            "NetworkDriver.CreateEndpoint",
            NetworkID=endpoint.network.id,
            EndpointID=endpoint.id,
            Interface={**addresses, "MacAddress": mac},
            Options={"com.docker.network.endpoint.exposedports": [], "com.docker.network.portmap": [], **options},
        )
        endpoint.mac = mac or answer["Interface"]["MacAddress"]

    def _release_addresses(self, endpoint: EngineEndpoint) -> None:
        for pool_id, cidr in endpoint.addresses:
            self.call("IpamDriver.ReleaseAddress", PoolID=pool_id, Address=cidr.partition("/")[0])

    def disconnect(self, endpoint: EngineEndpoint) -> None:
        """Do what the end of a container does."""
        ids = {"NetworkID": endpoint.network.id, "EndpointID": endpoint.id}
        self.call("NetworkDriver.Leave", **ids)
        self.call("NetworkDriver.DeleteEndpoint", **ids)
        self._release_addresses(endpoint)
        self.endpoints.pop(endpoint.id, None)
