# SPDX-License-Identifier: Apache-2.0
"""Wanted against actual: what a driver is asked to change, and the seam that drivers fill.

Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from portico.agent import owner
from portico.hoststate import (
    ROUTED,
    Behind,
    Bridge,
    Custom,
    Dhcp,
    Group,
    HostObject,
    Lease,
    Member,
    Outlet,
    Peer,
    Publish,
    Router,
    Space,
    Uplink,
    Vif,
    key_of,
)
from portico.hoststate.speaker import SPEAKER_KEY

ZONE_MAX = 0xFFFF

Kind = TypeVar("Kind", bound=HostObject)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a key is not realised. `waiting`: nothing is wrong, something else has to come first."""

    reason: str
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """What one driver has to change: put `put` (whole items, by key) and remove `gone` keys.

    `before` holds what is there now under those keys, where anything is.
    """

    put: Mapping[str, Any] = field(default_factory=dict)
    gone: Collection[str] = ()
    before: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.put or self.gone)


def difference(wanted: Mapping[str, Any], actual: Mapping[str, Any], keys: Collection[str]) -> Delta:
    """Return what to change under `keys` so that `actual` equals `wanted` there."""
    put = {key: wanted[key] for key in keys if key in wanted and wanted[key] != actual.get(key)}
    gone = [key for key in keys if key not in wanted and key in actual]
    return Delta(put, gone, {key: actual[key] for key in [*put, *gone] if key in actual})


ROUTED_ZONE = 0
"""The zone of the routed space: connection tracking's own when none is given. No bridge has it."""


class Wanted:
    """The host's wanted state, with the zone of each network: a number of 1 to 65535, unique on this host.

    A network keeps its zone while it is wanted, and over restarts of the agent (the bridge remembers it), for
    connection tracking finds its entries by it. A number that became free is taken again as late as possible.
    """

    def __init__(self) -> None:
        self.objects: dict[str, HostObject] = {}
        self.zones: dict[str, int] = {}
        self._last_zone = 0
        # By key, the names of the host's links that an object depends on.
        self.host_links: dict[str, frozenset[str]] = {}
        # Keys of what drivers of other packages make: as a rule few, and each needs others.
        self._customs: set[str] = set()

    def learn(self, zones: Mapping[str, int]) -> None:
        """Take over the zones found in the kernel, for networks that have none yet."""
        for network_id, zone in sorted(zones.items()):
            if zone not in self.zones.values():
                self.zones.setdefault(network_id, zone)
                self._last_zone = max(self._last_zone, zone)

    def change(
        self,
        objects: Collection[HostObject],
        gone: Collection[str],
        *,
        whole: bool = False,
        keep_zones: bool = False,
    ) -> set[str]:
        """Replace `objects` and remove `gone` keys, or with `whole` all others; return the keys to look at again.

        With `keep_zones`, networks that are not wanted keep their zones: they may be there all the same.
        """
        given = {key_of(item): item for item in objects}
        removed = {key for key in (self.objects if whole else gone) if key in self.objects and key not in given}
        changed = {key: item for key, item in given.items() if self.objects.get(key) != item}
        before = [self.objects[key] for key in [*changed, *removed] if key in self.objects]
        self.objects.update(changed)
        for key in removed:
            del self.objects[key]
        for key in [*changed, *removed]:
            self.host_links.pop(key, None)
        self.host_links |= {key: names for key, item in changed.items() if (names := _host_links(item))}
        self._customs.difference_update(removed)
        self._customs.update(key for key, item in changed.items() if isinstance(item, Custom))
        self._assign_zones(keep=keep_zones)
        dirty = {*changed, *removed}
        return dirty | self._dependents([*before, *changed.values()]) | self.needing(dirty)

    def needing(self, keys: Collection[str]) -> set[str]:
        """Return the keys of what drivers of other packages make that needs one of `keys`."""
        found = set()
        for key in self._customs:
            item = self.objects[key]
            if isinstance(item, Custom) and any(one in keys for one in item.needs):
                found.add(key)
        return found

    def of(self, kind: type[Kind]) -> Iterator[Kind]:
        """Yield the wanted objects of one kind."""
        return (item for item in self.objects.values() if isinstance(item, kind))

    def only_passes(self, network_id: str) -> bool:
        """Tell whether a network only joins routers to the host's way out, and has no ports to be filtered."""
        return f"uplink/{network_id}" in self.objects and all(item.network_id != network_id for item in self.of(Vif))

    def _assign_zones(self, *, keep: bool) -> None:
        networks = {item.network_id for item in self.of(Bridge)}
        for network_id in [*self.zones]:
            if network_id not in networks and not keep:
                del self.zones[network_id]
        if f"space/{ROUTED}" in self.objects:
            self.zones[ROUTED] = ROUTED_ZONE
        taken = set(self.zones.values())
        for network_id in sorted(networks - self.zones.keys()):
            while (zone := self._last_zone % ZONE_MAX + 1) in taken:
                self._last_zone = zone
            self._last_zone = zone
            self.zones[network_id] = zone
            taken.add(zone)

    def _dependents(self, touched: Collection[HostObject]) -> set[str]:
        """Return keys whose realisation depends on a touched object.

        What is on a bridge or in the routed space, the bridge of an uplink, the server of a lease, the speaker of a
        peer and of what that is told, the groups that filter in the routed space too, and the ports that may lead the
        same addresses.
        """
        servers = {f"dhcp/{item.network_id}" for item in touched if isinstance(item, Lease)}
        if any(isinstance(item, Peer | Behind) for item in touched):
            servers.add(SPEAKER_KEY)
        dirty = servers & self.objects.keys()
        dirty |= self._bridges_of_uplinks(touched) & self.objects.keys()
        networks = {item.network_id for item in touched if isinstance(item, Bridge)}
        if _is_other_space(touched):
            networks.add(ROUTED)
            dirty |= {key for key, item in self.objects.items() if isinstance(item, Group)}
        if networks:
            dirty |= {
                key
                for key, item in self.objects.items()
                if isinstance(item, Vif | Member | Dhcp | Uplink) and item.network_id in networks
            }
            dirty |= {item.key for item in self.of(Router) if any(leg.network_id in networks for leg in item.legs)}
        dirty |= {f"publish/{item.forwarding_id}" for item in self._published_beside(touched)}
        if any(self._concerns_routed_servers(item) for item in touched):
            dirty |= {key for key, item in self.objects.items() if isinstance(item, Dhcp) and item.routed}
        led = {cidr for item in touched if isinstance(item, Vif) for cidr in (*item.routes, *item.shared_routes)}
        if led:
            dirty |= {f"vif/{item.port_id}" for item in self.of(Vif) if not led.isdisjoint(item.shared_routes)}
        return dirty

    def _bridges_of_uplinks(self, touched: Collection[HostObject]) -> set[str]:
        """Return the keys of bridges that may have to track connections now, or no more (see `only_passes`)."""
        return {
            f"bridge/{item.network_id}"
            for item in touched
            if isinstance(item, Uplink) or (isinstance(item, Vif) and f"uplink/{item.network_id}" in self.objects)
        }

    def _published_beside(self, touched: Collection[HostObject]) -> Iterator[Publish]:
        """Yield published ports that depend on a touched uplink, or that may want the same of the host."""
        networks = {item.network_id for item in touched if isinstance(item, Uplink)}
        networks |= {ROUTED for item in touched if isinstance(item, Space)}
        places = [(item.protocol, item.ports) for item in touched if isinstance(item, Publish)]
        for item in self.of(Publish) if networks or places else ():
            first, last = item.ports
            is_beside = any(item.protocol == it and first <= ports[1] and ports[0] <= last for it, ports in places)
            if item.network_id in networks or is_beside:
                yield item

    def _concerns_routed_servers(self, item: HostObject) -> bool:
        """Tell whether the one server of all routed networks depends on an object."""
        match item:
            case Space():
                return True
            case Dhcp():
                return item.routed
            case Vif():
                return item.network_id == ROUTED and item.plug == "tap"
            case Lease():
                server = self.objects.get(f"dhcp/{item.network_id}")
                return isinstance(server, Dhcp) and server.routed
        return False


def _host_links(item: HostObject) -> frozenset[str]:
    match item:
        case Vif():
            return frozenset({item.tap_name} if item.plug == "tap" else ())
        case Uplink():
            return frozenset({owner.uplink_host_link(item.network_id)})
        case Outlet():
            return frozenset({item.device, item.bridge} - {""})
    return frozenset()


def _is_other_space(touched: Collection[HostObject]) -> bool:
    """Tell whether the routed space has come, gone, or changed in more than its way out and its scopes."""
    spaces = [item for item in touched if isinstance(item, Space)]
    plain = {Space(item.mtu, item.ipv6) for item in spaces}
    return len(spaces) == 1 or len(plain) > 1


class Forgotten(Exception):
    """Raised by a driver's `read` of some keys: what it knew of the kernel holds no longer; everything must be read."""


class Driver(Protocol):
    """One kind of kernel object. The loop does the comparing, ordering and retrying; a driver never retries.

    `plan` and `read` speak of the same items, under host state keys, so that they can be compared.
    """

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """Return the items wanted under `keys`, and the troubles of keys that cannot be planned. No kernel access.

        A key that this driver has nothing to do for, or that is not wanted, is in neither.
        """

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """Return what the kernel has of ours under `keys`; None asks for everything, with nothing taken from memory.

        Raises:
            Forgotten: not for None.
        """

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """Change the kernel; return the troubles by key. One bad key must not stop the others.

        Removing what is absent is no trouble. May be called again with the same delta after a crash at any point.
        """
