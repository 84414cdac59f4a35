# SPDX-License-Identifier: Apache-2.0
"""The network driver's networks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_interface, ip_network

import msgspec

from portico.docker import group, option, outside, use, wire
from portico.docker.api import Api, Object, delete_if_there, exactly, find
from portico.docker.option import NetworkOptions
from portico.docker.outside import Outside
from portico.docker.pool import IpAddress, IpNetwork, Pending, PendingPools
from portico.docker.publish import remove_free
from portico.docker.record import PLUGGED, RESERVED, DockerNetwork, Records, anchor
from portico.errors import BadRequest, Conflict, NotFound, PorticoError, PreconditionFailed

LOG = logging.getLogger(__name__)

DHCP_OWNER = "network:dhcp"
# Subnets in which the API makes addresses of MAC addresses; Docker wants to know them before there is one.
AUTOMATIC = ("slaac", "dhcpv6-stateless")
# The address space of Docker's null IPAM driver (moby, libnetwork/ipams/null).
NULL_SPACE = "null"


class Pool(msgspec.Struct, frozen=True):
    """A pool of a network that is being created. `gateway` None: it has none."""

    pending: Pending
    gateway: IpAddress | None
    auxiliary: tuple[str, ...]


class Networks:
    """Answers the calls of the network driver that concern networks."""

    def __init__(self, api: Api, host: str, pending: PendingPools, records: Records, outside: Outside) -> None:
        self._api = api
        self._host = host
        self._outside = outside
        self._pending = pending
        self._records = records

    def create(self, call: wire.CreateNetwork) -> wire.Answer:
        """Make a Docker network out of the pools that were requested, on a network of its own or an existing one."""
        if self._records.find(call.network_id) is not None:
            return {}
        options = option.of_network(call.options)
        pools = self._pools(call)
        draft = DockerNetwork(
            id=call.network_id,
            anchor_id="",
            network_id="",
            owned=False,
            pools={},
            security_groups=group.resolve(self._api, options.security_groups),
            expose=options.expose,
            gateways=tuple(str(pool.gateway) for pool in pools if pool.gateway),
            dual=len({pool.pending.pool.cidr.version for pool in pools}) == 2,
            unaddressed=not pools,
        )
        if options.network or options.subnet or any(pool.pending.subnet for pool in pools):
            record = self._on_existing(draft, options, pools)
        else:
            record = self._on_new(draft, options, pools)
        self._records.add(record)
        self._pending.drop([pool.pending.pool.nonce for pool in pools])
        return {}

    def _pools(self, call: wire.CreateNetwork) -> list[Pool]:
        """Return the pools of a network; none when Docker's null IPAM driver, which gives no addresses, has it."""
        given = [*(call.ipv4_data or ()), *(call.ipv6_data or ())]
        if not given:
            raise BadRequest(f"Docker network {call.network_id} has no subnet.")
        if all(data.address_space == NULL_SPACE for data in given):
            return []
        return [self._pool(data) for data in given]

    def _pool(self, data: wire.PoolData) -> Pool:
        return Pool(
            pending=self._pending.newest(ip_network(data.pool)),
            gateway=ip_interface(data.gateway).ip if data.gateway else None,
            auxiliary=tuple(str(ip_interface(text).ip) for text in (data.aux_addresses or {}).values()),
        )

    def _on_new(self, draft: DockerNetwork, options: NetworkOptions, pools: Sequence[Pool]) -> DockerNetwork:
        body: Object = {"name": f"docker-{draft.id[:12]}", "description": group.made_by(self._host)}
        if options.mtu is not None:
            body["mtu"] = options.mtu
        if options.backend:
            body["portico:backend"] = options.backend
        network = self._api.create("networks", body)
        record = msgspec.structs.replace(draft, network_id=network["id"], owned=True)
        try:
            record = _with_routes(record, network, options)
            if record.unaddressed and record.security_groups is None:
                # The default group goes by addresses, and these have none: it would keep containers from each other.
                made = group.make(self._api, self._host, record.id, group.ANYTHING)
                record = msgspec.structs.replace(record, security_groups=(made,), group=made)
            subnets = self._make_subnets(record, pools)
            if record.default_route:
                record = self._with_router(record, network, subnets, options.external)
            if options.default_route and not (record.router or record.routed):
                raise _no_gateway(network)
            return self._anchor(record, subnets, pools)
        except PorticoError:
            self._undo(record)
            raise

    def _with_router(
        self, record: DockerNetwork, network: Object, subnets: Sequence[Object], external: str
    ) -> DockerNetwork:
        router = self._outside.connect(network, subnets, external)
        held = tuple(subnet["gateway_ip"] for subnet in subnets if router and subnet["gateway_ip"])
        return msgspec.structs.replace(record, router=router, routed_gateways=held)

    def _make_subnets(self, record: DockerNetwork, pools: Sequence[Pool]) -> list[Object]:
        if not pools:
            return []
        wanted = {"subnets": [_subnet(record.network_id, pool) for pool in pools]}
        made: list[Object] = self._api.request("POST", "/v2.0/subnets", wanted)["subnets"]
        return made

    def _undo(self, record: DockerNetwork) -> None:
        try:
            ports = self._api.list("ports", network_id=record.network_id, device_owner=outside.INTERFACE_OWNER)
            outside.remove_routers(self._api, self._host, ports)
            delete_if_there(self._api, "networks", record.network_id)
            if record.group:
                delete_if_there(self._api, "security_groups", record.group)
        except PorticoError as error:
            LOG.warning("network %s is left to the sweep: %s", record.network_id, error)

    def _anchor(self, record: DockerNetwork, subnets: Sequence[Object], pools: Sequence[Pool]) -> DockerNetwork:
        of_pool = {pool.pending.pool.nonce: subnet["id"] for pool, subnet in zip(pools, subnets, strict=True)}
        record = msgspec.structs.replace(record, pools=of_pool)
        auxiliary = [
            {"subnet_id": subnet["id"], "ip_address": address}
            for pool, subnet in zip(pools, subnets, strict=True)
            for address in pool.auxiliary
        ]
        port = self._api.create("ports", anchor(record, self._host, auxiliary))
        return msgspec.structs.replace(record, anchor_id=port["id"])

    def _on_existing(self, draft: DockerNetwork, options: NetworkOptions, pools: Sequence[Pool]) -> DockerNetwork:
        network = self._existing_network(options, pools)
        name = network["name"] or network["id"]
        if options.mtu not in (None, network["mtu"]):
            raise Conflict(f"Network '{name}' has an MTU of {network['mtu']}: it cannot be {options.mtu}.")
        if options.backend not in ("", network["portico:backend"]):
            raise Conflict(
                f"Network '{name}' is on backend {network['portico:backend']}: -o {option.BACKEND} cannot make it "
                f"{options.backend}; leave that out, or have Docker make a network of its own."
            )
        there = self._api.list("subnets", network_id=network["id"])
        if options.subnet:
            there = [item for item in there if options.subnet in (item["id"], item["name"])]
        subnets = [_existing_subnet(network, there, pool, self._pending) for pool in pools]
        record = _with_routes(msgspec.structs.replace(draft, network_id=network["id"]), network, options)
        if record.default_route:
            router, held = outside.find_router(self._api, record.network_id, record.gateways)
            record = msgspec.structs.replace(record, router=router, routed_gateways=held)
        if options.default_route and not (record.router or record.routed):
            raise _no_gateway(network)
        return self._anchor(record, subnets, pools)

    def _existing_network(self, options: NetworkOptions, pools: Sequence[Pool]) -> Object:
        if options.subnet and not pools:
            raise BadRequest(
                f"-o {option.SUBNET} {options.subnet}: with --ipam-driver null there are no addresses; name a network "
                f"by -o {option.NETWORK}."
            )
        named = {pool.pending.subnet["network_id"] for pool in pools if pool.pending.subnet}
        if options.network:
            named.add(find(self._api, "networks", options.network)["id"])
        if options.subnet:
            named.add(find(self._api, "subnets", options.subnet)["network_id"])
        if len(named) > 1:
            raise Conflict(f"The options name {len(named)} different networks: {', '.join(sorted(map(str, named)))}.")
        return find(self._api, "networks", str(*named))

    def delete(self, call: wire.DeleteNetwork) -> wire.Answer:
        """Delete a Docker network; Portico's network goes with it if it was made for it."""
        record = self._records.find(call.network_id)
        if record is not None:
            exactly(lambda: remove(self._api, self._host, record), f"A port of Docker network {record.id}")
            self._records.forget(record.id)
        return {}


def remove(api: Api, host: str, record: DockerNetwork, revision: int | None = None) -> None:
    """Take away what a Docker network has in Portico, endpoints that were left over too.

    On a network that was made for it, these are also the ports which say that they are Docker's but no longer whose: no
    other host has them, and the engine removes a network only when it has no endpoint there any more.

    Args:
        api: where it is.
        host: whose plugin made it.
        record: what it is.
        revision: of the anchor as it was seen; None: whatever it has become.

    Raises:
        Conflict: others have ports on its network.
        PreconditionFailed: the anchor, or a port that would go, has become something else; some may be gone already.
    """
    ports = api.list("ports", network_id=record.network_id)
    if not (record.pools or record.unaddressed):  # overwritten; the network says it too
        owned = bool(api.list("networks", id=record.network_id, description=group.made_by(host)))
        record = msgspec.structs.replace(record, owned=owned)
    plugged = [port for port in ports if port["device_owner"] in (RESERVED, *PLUGGED)]
    ours = [port for port in plugged if use.of(port).network == record.id]
    if record.owned:
        ours += [port for port in plugged if use.of(port) == use.NOBODYS and port["binding:host_id"] in ("", host)]
        known = {record.anchor_id, *(port["id"] for port in ours if use.adopted(port) is None)}
        legs = _legs(api, host, ports)
        known |= {port["id"] for port in legs}
        others = [port["id"] for port in ports if port["id"] not in known and port["device_owner"] != DHCP_OWNER]
        if others:
            named = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
            raise Conflict(f"Network {record.network_id} of Docker network {record.id} is in use by port {named}.")
    for port in ours:
        use.end(api, port, port["revision_number"])
    if record.router:
        with suppress(PreconditionFailed):  # another container is about to have one
            remove_free(api, host)
    if record.owned:
        outside.remove_routers(api, host, legs)
    delete_if_there(api, "ports", record.anchor_id, revision)
    if record.owned:
        delete_if_there(api, "networks", record.network_id)
    if record.group:
        with suppress(Conflict):  # others have ports in it: it goes with the last of them, by the sweep
            delete_if_there(api, "security_groups", record.group)


def _with_routes(record: DockerNetwork, network: Object, options: NetworkOptions) -> DockerNetwork:
    """Return a Docker network with what its backend makes of routes."""
    routed = network["portico:backend"] == outside.ROUTED
    if options.default_route and options.internal:
        raise BadRequest(f"-o {option.DEFAULT_ROUTE}=true: an --internal network carries no default route.")
    carries = options.default_route is not False and not options.internal
    return msgspec.structs.replace(record, routed=routed, default_route=carries)


def _no_gateway(network: Object) -> BadRequest:
    return BadRequest(
        f"-o {option.DEFAULT_ROUTE}=true: network '{network['name'] or network['id']}' has no router with the subnet's "
        "gateway address."
    )


def _legs(api: Api, host: str, ports: Sequence[Object]) -> list[Object]:
    """Return those of a network's ports that are interfaces of routers which the plugin made for it."""
    legs = [port for port in ports if port["device_owner"] == outside.INTERFACE_OWNER]
    if not legs:
        return []
    own = {router["id"] for router in api.list("routers", description=group.made_by(host), fields="id")}
    return [port for port in legs if port["device_id"] in own]


def _subnet(network_id: str, pool: Pool) -> Object:
    item, cidr = pool.pending, pool.pending.pool.cidr
    body: Object = {
        "network_id": network_id,
        "name": f"docker-{cidr}",
        "ip_version": cidr.version,
        "cidr": str(cidr),
        "gateway_ip": str(pool.gateway) if pool.gateway else None,
    }
    if item.subnetpool_id:
        body["subnetpool_id"] = item.subnetpool_id
    if item.pool.ip_range is not None:
        body["allocation_pools"] = _allocation_pools(cidr, item.pool.ip_range, pool.gateway)
    return body


def _allocation_pools(cidr: IpNetwork, ip_range: IpNetwork, gateway: IpAddress | None) -> list[Object]:
    """Return the addresses of --ip-range that hosts may have, without the gateway."""
    first, last = int(ip_range[0]), int(ip_range[-1])
    if cidr.num_addresses > 2:
        first = max(first, int(cidr[0]) + 1)
        last = min(last, int(cidr[-1]) - (1 if cidr.version == 4 else 0))
    ends = [(first, last)]
    if gateway is not None and first <= int(gateway) <= last:
        ends = [(first, int(gateway) - 1), (int(gateway) + 1, last)]
    start = int(cidr[0])
    found = [{"start": str(cidr[a - start]), "end": str(cidr[b - start])} for a, b in ends if a <= b]
    if not found:
        raise BadRequest(f"--ip-range {ip_range} has no address for containers in subnet {cidr}.")
    return found


def _existing_subnet(network: Object, there: Sequence[Object], pool: Pool, pending: PendingPools) -> Object:
    """Return the subnet that a pool is on an existing network."""
    wanted = pool.pending.pool
    subnet = next((item for item in there if ip_network(item["cidr"]) == wanted.cidr), None)
    name = network["name"] or network["id"]
    if subnet is None:
        cidrs = ", ".join(item["cidr"] for item in there) or "none"
        raise NotFound(
            f"Network '{name}' has no subnet {wanted.cidr} (it has {cidrs}): give one of these with --subnet, or "
            f"none and --ipam-opt {option.NETWORK}={name}."
        )
    for mode in ("ipv6_address_mode", "ipv6_ra_mode"):
        if subnet[mode] in AUTOMATIC:
            raise BadRequest(f"Subnet {wanted.cidr} has {mode} {subnet[mode]}: Docker needs one without.")
    if wanted.ip_range is not None:
        raise BadRequest(f"--ip-range {wanted.ip_range}: subnet {wanted.cidr} exists and has its allocation_pools.")
    asked = pending.asked_gateway(wanted.nonce)
    if asked is not None and subnet["gateway_ip"] and asked != ip_address(subnet["gateway_ip"]):
        raise Conflict(f"--gateway {asked}: subnet {wanted.cidr} exists and has gateway {subnet['gateway_ip']}.")
    if subnet["gateway_ip"] and pool.gateway not in (None, ip_address(subnet["gateway_ip"])):
        raise Conflict(
            f"Subnet {wanted.cidr} exists and has gateway {subnet['gateway_ip']}, and Docker takes {pool.gateway} for "
            f"it: give --gateway {subnet['gateway_ip']} or --ipam-opt {option.NETWORK}={name} too."
        )
    return subnet
