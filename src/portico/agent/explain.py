# SPDX-License-Identifier: Apache-2.0
"""What is wanted of one port and what this host's kernel has of it, side by side: `portico port explain`.

Run as root on the port's host. It looks with the agent's own drivers, changes nothing, and needs no running agent.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from portico.agent import filter_text, kernel, links, netlink, owner, packet_log
from portico.agent import fragment as parts
from portico.agent.delta import Driver, Wanted
from portico.agent.drivers.advertise import AdvertDriver
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.drivers.dhcp import DhcpDriver
from portico.agent.drivers.limit import LimitDriver
from portico.agent.drivers.link import BridgeDriver, CarrierDriver, LinkTable, PairDriver
from portico.agent.drivers.route import RouteDriver, Side, SpaceDriver
from portico.agent.drivers.routed_dhcp import RoutedDhcpDriver
from portico.agent.drivers.router import RouterDriver
from portico.agent.drivers.share import ShareDriver
from portico.agent.drivers.subport import SubportDriver
from portico.agent.drivers.tap import TapDriver
from portico.agent.drivers.watch import WatchDriver
from portico.agent.policies import Pace
from portico.agent.redirect import Redirects
from portico.agent.router_space import RouterSpaces
from portico.agent.routes import Routes
from portico.agent.runtime import Place
from portico.agent.servers import OwnServers, RouterServers, Servers
from portico.agent.shaper import Shapers
from portico.agent.shares import Shares
from portico.agent.switches import Switches
from portico.agent.tagging import Tags
from portico.agent.watchers import Watchers
from portico.hoststate import ROUTED, HostObject, Router, Vif
from portico.hoststate.look import Aspect

ABSENT = "-"


def explain(place: Place, objects: Collection[HostObject], port_id: str) -> list[Aspect]:
    """Return the aspects of a port.

    Args:
        objects: the host's whole wanted state, as the feed gives it.

    Raises:
        FileNotFoundError: there is no data plane on this host.
    """
    host_netns = kernel.open_current()
    own_netns = kernel.open_named(place.netns)
    try:
        with netlink.Socket(netlink.ROUTE) as host_route, netlink.Socket(netlink.ROUTE) as other:
            host = Side(links.Links(host_route), Routes(other), Switches(host_netns))
            pace = None if packet_log.lack() else place.logged.pace
            drivers = partial(_drivers, place, host, Tags(host_route), host_netns, own_netns)
            return kernel.within(own_netns, lambda: _rows(drivers, pace, host.links, objects, port_id))
    finally:
        os.close(host_netns)
        os.close(own_netns)


def _drivers(place: Place, host: Side, tags: Tags, host_netns: int, own_netns: int) -> dict[str, Driver]:
    """Return what looks, by aspect, in the agent's order; called in our namespace."""
    table = LinkTable(links.Links(netlink.Socket(netlink.ROUTE)))
    ours = Side(table.kernel, Routes(netlink.Socket(netlink.ROUTE)), Switches())
    route = netlink.Socket(netlink.ROUTE)
    servers = Servers(place.netns, run_dir=place.run_dir, state_dir=place.state_dir)
    return {
        "bridge": BridgeDriver(table, Conntrack(netlink.Socket(netlink.NETFILTER))),
        "space": SpaceDriver(table, ours, host, host_netns, place.netns),
        "link": PairDriver(table, host.links, host_netns, place.netns),
        "limit": LimitDriver(table, Shapers(route), Redirects(route)),
        "carrier": CarrierDriver(table),
        "router": RouterDriver(table, RouterSpaces(place.netns, own_netns)),
        "share": ShareDriver(table, Shares(route), Redirects(route)),
        "advertisements": AdvertDriver(RouterServers(place.netns, run_dir=place.run_dir)),
        "next hops": WatchDriver(Watchers(place.netns, run_dir=place.run_dir)),
        "route": RouteDriver(table, ours, host, place.netns),
        "dhcp": DhcpDriver(table, servers, only_look=True),
        "routed dhcp": RoutedDhcpDriver(
            table, ours, OwnServers(place.netns, run_dir=place.run_dir, state_dir=place.state_dir), only_look=True
        ),
        "subport": SubportDriver(table, host.links, tags, place.netns),
        "tap": TapDriver(table, host.links, tags, host_netns, place.netns),
    }


def _rows(
    make: Callable[[], dict[str, Driver]],
    pace: Pace | None,
    host: links.Links,
    objects: Collection[HostObject],
    port_id: str,
) -> list[Aspect]:
    drivers = make()
    wanted = Wanted()
    wanted.learn({item.network_id: item.zone for item in drivers["bridge"].read(None).values()})
    wanted.change(objects, (), whole=True)
    vif = wanted.objects.get(f"vif/{port_id}")
    keys = {f"vif/{port_id}"}
    if isinstance(vif, Vif) and vif.network_id == ROUTED:
        keys.add(f"space/{ROUTED}")
    elif isinstance(vif, Vif):
        keys |= {f"bridge/{vif.network_id}", f"dhcp/{vif.network_id}"}
        keys |= {item.key for item in wanted.of(Router) if vif.network_id in {leg.network_id for leg in item.legs}}
    rows: list[Aspect] = []
    for name, driver in drivers.items():
        planned, troubles = driver.plan(wanted, keys)
        found = driver.read(keys)
        for key in sorted(keys):
            rows += compare(name, planned.get(key), found.get(key))
            rows += [Aspect(name, trouble.reason, ABSENT, same=False) for at, trouble in troubles.items() if at == key]
    pieces, faults = parts.fragments(wanted, [f"vif/{port_id}"])
    for piece in pieces.values():
        rows += _filter(wanted, owner.port_link(port_id), piece, pace)
    rows += [Aspect("filter", fault, ABSENT, same=False) for fault in faults.values()]
    rows.append(_host_end(host, vif.link_name if isinstance(vif, Vif) else owner.host_link(port_id)))
    return rows


def compare(name: str, wanted: Any, actual: Any) -> Iterator[Aspect]:
    """Yield the aspects of what a driver wants and finds; None is nothing."""
    left, right = _fields(wanted), _fields(actual)
    for field in {**left, **right}:
        aspect = f"{name} {field}".strip()
        one, other = left.get(field, ABSENT), right.get(field, ABSENT)
        yield Aspect(aspect, one, other, same=one == other)


def _fields(item: Any) -> Mapping[str, str]:
    if item is None:
        return {}
    if not dataclasses.is_dataclass(item):
        return {"": "up"}
    shown = [field.name for field in dataclasses.fields(item) if field.compare]
    return {name: _text(getattr(item, name)) for name in shown}


def _text(value: Any) -> str:
    """Return a value for people to read: the parts of a tuple one by one, those of a set in order."""
    if isinstance(value, frozenset):
        return ", ".join(sorted(map(str, value))) or "nothing"
    if isinstance(value, tuple):
        return (
            "; ".join(" ".join(map(str, part)) if isinstance(part, tuple) else str(part) for part in value) or "nothing"
        )
    return str(value) or "nothing"


def _filter(wanted: Wanted, link: str, piece: parts.Fragment, pace: Pace | None) -> Iterator[Aspect]:
    for text in filter_text.compare(wanted, link, piece, pace):
        left, right = text.wanted or (), text.actual or ()
        if text.wanted == text.actual:
            told = f"{len(left)} rows"
            yield Aspect(f"filter {text.name}", told, told, same=True)
            continue
        missing = "; ".join(row for row in left if row not in right)
        extra = "; ".join(row for row in right if row not in left)
        if not missing and not extra and text.wanted is not None and text.actual is not None:
            missing, extra = "; ".join(left), "; ".join(right)  # the order differs, or one is there twice
        yield Aspect(
            f"filter {text.name}", _or_absent(missing, text.wanted), _or_absent(extra, text.actual), same=False
        )


def _or_absent(text: str, rows: tuple[str, ...] | None) -> str:
    return text or (ABSENT if not rows else "nothing else")


def _host_end(host: links.Links, name: str) -> Aspect:
    found = host.find(name)
    where = "in the host's namespace" if found else "not in the host's namespace: in a container, or gone with its pair"
    return Aspect(f"host end {name}", "anywhere", where, same=True)
