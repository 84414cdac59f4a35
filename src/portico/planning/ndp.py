# SPDX-License-Identifier: Apache-2.0
"""NDP proxies: addresses inside for which gateways answer, and what these keep out. Pure.

While a router has its proxies at work, nothing comes in by its gateways to IPv6 addresses of its interfaces' subnets
but to those that it answers for. May import what `contract` may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import structs

from portico import planning
from portico.contract import Dirty
from portico.hoststate.l3 import Leg
from portico.model.l3 import NdpProxy
from portico.model.snapshot import IpNetwork, Snapshot


def guard(
    want: Snapshot, router_id: str, legs: Sequence[Leg], inside: Iterable[IpNetwork], is_led: Callable[[str], bool]
) -> list[Leg]:
    """Return a router's legs on a host with what they answer for and keep out.

    Args:
        want: what is wanted.
        router_id: the router.
        legs: those that the host has of it.
        inside: the subnets of its interfaces.
        is_led: tells of a port's id whether what comes for that from outside comes by this host.
    """
    if not want.routers[router_id].answers:
        return [*legs]
    guarded = tuple(sorted(str(net) for net in inside if net.version == 6))
    proxies = [want.proxies[item] for item in sorted(want.proxies_of_router.get(router_id, ()))]
    led = [proxy for proxy in proxies if is_led(proxy.port_id)]
    return [
        structs.replace(leg, guarded=guarded, proxied=tuple(sorted(_proxied(want, leg, led)))) if leg.outside else leg
        for leg in legs
    ]


def _proxied(want: Snapshot, leg: Leg, proxies: Iterable[NdpProxy]) -> Iterator[str]:
    """Yield the addresses that mean the same at a gateway with an IPv6 address, whole here or in part."""
    here = _scopes(want, leg.port_id, None)
    for proxy in proxies:
        if here & _scopes(want, proxy.port_id, proxy):
            yield str(proxy.address)


def _scopes(want: Snapshot, port_id: str, proxy: NdpProxy | None) -> set[str]:
    """Return the address scopes of a port's IPv6 addresses, or of the one that a proxy stands for."""
    port = want.ports[port_id]
    mine = [item for item in port.fixed_ips if item.address.version == 6 and item.subnet_id in want.subnets]
    chosen = [item for item in mine if proxy is None or item.address == proxy.address]
    return {planning.gateways.scope(want, want.subnets[item.subnet_id]) for item in chosen} - {""}


def routers(want: Snapshot, dirty: Dirty, known: Mapping[str, NdpProxy]) -> set[str]:
    """Return the routers that changed proxies concern, or ports with some; `known` are those of the last plan."""
    ids = {*dirty.ids.get("ndp_proxy", ())}
    for port_id in dirty.ids.get("port", ()):
        ids |= want.proxies_of_port.get(port_id, set())
    found = {proxies[item].router_id for item in ids for proxies in (known, want.proxies) if item in proxies}
    return found & want.routers.keys()
