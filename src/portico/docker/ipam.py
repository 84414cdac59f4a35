# SPDX-License-Identifier: Apache-2.0
"""The IPAM driver: pools and addresses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from ipaddress import IPv4Network, ip_address, ip_network

from portico.docker import option, wire
from portico.docker.api import Api, delete_if_there, find
from portico.docker.pool import IpAddress, IpNetwork, Pending, PendingPools, PoolId, new_id, parse_id
from portico.docker.record import DockerNetwork, Records
from portico.docker.reservation import Reservations
from portico.errors import BadRequest, Conflict, NotFound
from portico.settings_docker import DockerSettings

LOCAL_SPACE = "portico-local"
GLOBAL_SPACE = "portico-global"


class Ipam:
    """Answers the calls of the IPAM driver."""

    def __init__(
        self,
        api: Api,
        settings: DockerSettings,
        pending: PendingPools,
        records: Records,
        reservations: Reservations,
        later: Callable[[Callable[[], None]], None],
        routes: Callable[[int], Collection[IpNetwork]],
    ) -> None:
        self._api = api
        self._later = later
        self._routes = routes
        self._settings = settings
        self._pending = pending
        self._records = records
        self._reservations = reservations
        self._choosing = threading.Lock()

    def request_pool(self, call: wire.RequestPool) -> wire.Answer:
        """Hold a pool until CreateNetwork writes it down."""
        options = option.of_ipam(call.options)
        if options.network or options.subnet:
            pending = self._existing(call, options)
            self._pending.add(pending)
        elif call.pool:
            cidr = _network("subnet", call.pool)
            pending = Pending(new_id(cidr, _range(call.sub_pool, cidr)), time.monotonic())
            self._pending.add(pending)
        else:
            if call.sub_pool:
                raise BadRequest(f"--ip-range {call.sub_pool}: an address range needs its --subnet.")
            pending = self._choose(6 if call.v6 else 4)
        return {"PoolID": str(pending.pool), "Pool": str(pending.pool.cidr), "Data": {}}

    def _existing(self, call: wire.RequestPool, options: option.IpamOptions) -> Pending:
        """Return the pool that is the existing subnet which --ipam-opt names."""
        if call.sub_pool:
            raise BadRequest(f"--ip-range {call.sub_pool}: an existing subnet has its allocation_pools already.")
        version = 6 if call.v6 else 4
        filters: dict[str, object] = {"ip_version": version}
        if options.network:
            filters["network_id"] = find(self._api, "networks", options.network)["id"]
        if options.subnet:
            found = [find(self._api, "subnets", options.subnet, **filters)]
        else:
            found = self._api.list("subnets", **filters)
        wanted = _network("subnet", call.pool) if call.pool else None
        found = [item for item in found if wanted in (None, ip_network(item["cidr"]))]
        name = options.subnet or options.network
        if not found:
            raise NotFound(f"'{name}' has no {f'subnet {wanted}' if wanted else f'IPv{version} subnet'}.")
        if len(found) > 1:
            cidrs = ", ".join(sorted(item["cidr"] for item in found))
            raise Conflict(f"Network '{name}' has {len(found)} IPv{version} subnets: give --subnet, one of {cidrs}.")
        return Pending(new_id(ip_network(found[0]["cidr"]), None), time.monotonic(), found[0])

    def _choose(self, version: int) -> Pending:
        """Return a pool with the next free prefix of the subnet pool that the settings describe.

        Free of every subnet that there is, wherever its prefix came from: a container may be on several networks. And
        of what the host has routes to, which the engine would refuse, prefix by prefix.
        """
        settings = self._settings
        prefix = settings.ipv4_pool if version == 4 else settings.ipv6_pool
        length = settings.ipv4_prefix_length if version == 4 else settings.ipv6_prefix_length
        with self._choosing:
            source = self._subnetpool(prefix)
            used = [ip_network(item["cidr"]) for item in self._api.list("subnets", ip_version=version, fields="cidr")]
            taken = {*used, *self._pending.prefixes(), *self._routes(version)}
            cidr = next(_free(ip_network(prefix), length, taken), None)
            if cidr is None:
                raise Conflict(
                    f"docker.ipv{version}_pool {prefix} has no free prefix of length {length} left: subnets of the API "
                    "and routes of the host overlap all of it; give --subnet, or set another pool."
                )
            pending = Pending(new_id(cidr, None), time.monotonic(), subnetpool_id=source)
            self._pending.add(pending)
        return pending

    def _subnetpool(self, prefix: str) -> str:
        name = f"docker-{prefix}"
        found = self._api.list("subnetpools", name=name, fields="id")
        pool = found[0] if found else self._api.create("subnetpools", {"name": name, "prefixes": [prefix]})
        return str(pool["id"])

    def release_pool(self, call: wire.ReleasePool) -> wire.Answer:
        """Forget a pool that never got its network; the subnet of one that did goes with its network."""
        self._pending.drop([parse_id(call.pool_id).nonce])
        return {}

    def request_address(self, call: wire.RequestAddress) -> wire.Answer:
        """Give an address: a gateway or auxiliary address of a pool on its way, or one for an endpoint."""
        pool = parse_id(call.pool_id)
        asked = _address(call.address, pool.cidr) if call.address else None
        length = pool.cidr.prefixlen
        pending = self._pending.get(pool.nonce)
        is_gateway = (call.options or {}).get(option.ADDRESS_TYPE) == option.GATEWAY
        if pending is not None:
            address = str(self._before_network(pending, asked, is_gateway=is_gateway))
        else:
            record = self._records.of_pool(pool.nonce)
            if record is None:
                raise NotFound(
                    f"Pool {call.pool_id} belongs to no network: create networks with both -d and --ipam-driver; if "
                    "you did, the plugin was restarted in between: create it again."
                )
            address = self._of_network(record, pool, asked, is_gateway=is_gateway)
            if record.routed and not is_gateway:
                length = pool.cidr.max_prefixlen  # there are no neighbours
        return {"Address": f"{address}/{length}", "Data": {}}

    def _before_network(self, pending: Pending, asked: IpAddress | None, *, is_gateway: bool) -> IpAddress:
        cidr = pending.pool.cidr
        if asked is not None:
            if is_gateway:
                self._pending.ask_gateway(pending.pool.nonce, asked)
            return asked
        if not is_gateway:
            raise Conflict(f"Subnet {cidr} has no network: use --ipam-driver portico together with -d portico.")
        existing = pending.subnet and pending.subnet["gateway_ip"]
        if existing:
            return ip_address(str(existing))
        if cidr.num_addresses == 1:
            raise BadRequest(
                f"Subnet {cidr} has one address, and its gateway takes it: nothing is left for containers."
            )
        return cidr.network_address + (1 if cidr.num_addresses > 2 else 0)

    def _of_network(self, record: DockerNetwork, pool: PoolId, asked: IpAddress | None, *, is_gateway: bool) -> str:
        subnet_id = record.pools[pool.nonce]
        if is_gateway:  # of a network that exists: engines ask again when they replay
            gateway = next((item for item in record.gateways if ip_address(item) in pool.cidr), None)
            return str(asked or gateway or self._api.list("subnets", id=subnet_id)[0]["gateway_ip"])
        return self._reservations.make(record, subnet_id, str(asked or ""), pool.cidr.version)

    def release_address(self, call: wire.ReleaseAddress) -> wire.Answer:
        """Give an address back; gateway and auxiliary addresses go with their network."""
        pool = parse_id(call.pool_id)
        record = None if self._pending.get(pool.nonce) else self._records.of_pool(pool.nonce)
        if record is not None:
            self._reservations.release(record, record.pools[pool.nonce], call.address)
        return {}

    def release_later(self, call: wire.ReleaseAddress) -> None:
        """Have an address given back as soon as the API answers: the engine does not ask again.

        Only one that this process knows is. Of another it cannot be told later whether the next one has it already;
        the next one takes it over.
        """
        pool = parse_id(call.pool_id)
        record = self._records.known_pool(pool.nonce)
        port = record and self._reservations.give_up(record, record.pools[pool.nonce], call.address)
        if port:
            self._later(lambda: delete_if_there(self._api, "ports", port["id"]))


def _network(flag: str, text: str) -> IpNetwork:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise BadRequest(f"--{flag} '{text}' is no network: {error}.") from error


def _range(text: str, cidr: IpNetwork) -> IpNetwork | None:
    if not text:
        return None
    found = _network("ip-range", text)
    if found.version != cidr.version or found.network_address not in cidr or found.prefixlen < cidr.prefixlen:
        raise BadRequest(f"--ip-range {found} is not inside of --subnet {cidr}.")
    return found


def _address(text: str, cidr: IpNetwork) -> IpAddress:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise BadRequest(f"Address '{text}': {error}.") from error
    if address not in cidr:
        raise BadRequest(f"Address {address} is not inside of subnet {cidr}.")
    return address


def _free(prefix: IpNetwork, length: int, taken: set[IpNetwork]) -> Iterator[IpNetwork]:
    """Yield the subnets of `prefix` with `length` that overlap none of `taken`."""
    blocks = sorted((int(item[0]), int(item[-1])) for item in taken if item.version == prefix.version)
    size = 1 << (prefix.max_prefixlen - length)
    start, end = int(prefix[0]), int(prefix[-1])
    for first, last in [*blocks, (end + 1, end + 1)]:
        while start + size <= min(first, end + 1):
            yield IPv4Network((start, length)) if prefix.version == 4 else ip_network((start, length))
            start += size
        if last >= start:
            start = -(-(last + 1) // size) * size
