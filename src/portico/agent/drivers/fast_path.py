# SPDX-License-Identifier: Apache-2.0
"""Which links the fast path joins: those of ports and those that lead to the host, unless something there counts.

Every link that leads out of our namespace has the programs, or a packet could come back by it with the number of a note
of when it went. So while one has not, the fast path is disarmed, and all packets take the long way. It is never the
cause of a port's trouble: a host whose kernel lacks it is a slower one. `docs/design/fast-path.md` tells the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from portico.agent import owner
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.link import LinkTable
from portico.agent.fast_path.hooks import Hooks
from portico.agent.fast_path.programs import Programs
from portico.agent.netlink import is_absent
from portico.hoststate import Bridge, HostObject, Router, Space, Uplink, Vif
from portico.hoststate.l3 import Leg

log = logging.getLogger(__name__)

Joined = Mapping[str, int]
"""By the name of a link, its MTU if packets may take the short way there, or 0."""

_OUTWARD = ("pb", "pu", "ps", owner.SPACE_LINK)
_ALL = (*_OUTWARD, "pl")


def ports(item: HostObject | None) -> Joined:
    """Return the link of a port. Limits, rates and marks are kept by the long way only."""
    return {owner.port_link(item.port_id): 0 if item.qos else item.mtu} if isinstance(item, Vif) else {}


def ways(item: HostObject | None) -> Joined:
    """Return the links by which packets leave for elsewhere, and those of routers that look at all that passes."""
    match item:
        case Uplink():
            return {owner.uplink_link(item.network_id): item.mtu}
        case Space():
            return {owner.SPACE_LINK: 0 if item.shares else item.mtu}
        case Bridge() if item.physical_network:
            return {owner.segment_link(item.network_id): 0}
        case Router():
            return {owner.leg_link(leg.port_id): 0 for leg in item.legs if _sees_all(item, leg)}
    return {}


def _sees_all(router: Router, leg: Leg) -> bool:
    """Tell whether every packet of a connection has to pass by a leg; a helper reads along in what is said."""
    return bool(leg.shares or router.helpers or (leg.outside and router.meters))


class FastPath:
    """What the drivers of the fast path share. Without `programs` there is none on this host, and `why` says why."""

    def __init__(self, table: LinkTable, hooks: Hooks, programs: Programs | None, why: str = "") -> None:
        self._table = table
        self._hooks = hooks
        self._programs = programs
        self._joined: dict[str, tuple[int, int]] = {}
        """Of links that have the programs, by name: the index, and the MTU with which to take part."""
        self._suspects: set[int] = set()
        """Indexes of links where others have changed filters."""
        self._has_begun = False
        self._failed, self._why = False, why

    def state(self) -> str:
        """Return "armed", or why packets take the long way."""
        if self._programs is None or self._failed:
            return self._why
        return "armed" if self._programs.armed else "not armed yet"

    def is_here(self) -> bool:
        """Return whether this host can have one."""
        return self._programs is not None and not self._failed

    def void(self) -> None:
        """See `Programs.void`."""
        if self._programs is not None:
            self._programs.void()

    def suspect(self, indexes: Collection[int] | None = None) -> None:
        """Have links looked at again, or all, for someone may have changed filters; meanwhile all take the long way."""
        names = [name for name, (index, _) in self._joined.items() if indexes is None or index in indexes]
        self._suspects.update(self._joined[name][0] for name in names)
        if names and self._programs is not None:
            self._programs.disarm()
        for name in names:
            self.leave(name)

    def has(self, name: str, mtu: int) -> bool:
        """Return whether a link is as `join` leaves it; one that is not there is."""
        link = self._table.by_name.get(name)
        return link is None or self._joined.get(name) == (link.index, mtu) or not self.is_here()

    def join(self, name: str, mtu: int) -> None:
        """Give a link the programs, and let it take part with `mtu`, but not with 0 nor where others have filters."""
        link = self._table.by_name.get(name)
        if link is None or self._programs is None:
            return
        self.leave(name)
        try:
            self._hooks.put(link.index, self._programs.from_link, self._programs.to_link)
            if mtu and self._is_alone(link.index):
                self._programs.admit(link.index, mtu)
        except OSError as error:
            if not is_absent(error):
                self._give_up(f"link {name}: {error.strerror}")
            return
        self._joined[name] = link.index, mtu

    def leave(self, name: str) -> None:
        """Have a link take no part; it keeps the programs, which go with it."""
        joined = self._joined.pop(name, None)
        if joined is not None and self._programs is not None:
            self._programs.dismiss(joined[0])

    def begin(self) -> None:
        """Arm it, once all links that lead out have the programs; to be called when all has been compared.

        There may be links of which nothing is known, or that are in trouble. They take no part.
        """
        if self._programs is None or self._programs.armed:
            return
        there = {name: link.index for name, link in self._table.by_name.items() if name.startswith(_OUTWARD)}
        for name in [name for name, index in there.items() if self._joined.get(name, (0,))[0] != index]:
            self.join(name, 0)
        if not self._failed:
            self._programs.arm()
            self._has_begun = True

    def clear(self) -> None:
        """Take away what an agent before left at links, if this one has no fast path."""
        if self._programs is None:
            self._hooks.remove([link.index for link in self._table.by_name.values() if link.name.startswith(_ALL)])

    def _is_alone(self, index: int) -> bool:
        """Return whether nobody else has filters at a link; of new ones it is known, if an agent has seen them come."""
        if index in self._suspects or not self._has_begun:
            self._suspects.discard(index)
            return self._hooks.are_alone(index)
        return True

    def _give_up(self, why: str) -> None:
        log.warning("fast path: %s; all packets take the long way", why)
        self._failed, self._why = True, why
        if self._programs is not None:
            self._programs.disarm()


class FastPathDriver:
    """Keys of whatever `links` names links of. Comes after those who make the links and before the ports go up."""

    def __init__(self, fast_path: FastPath, links: Callable[[HostObject | None], Joined]) -> None:
        self._fast_path = fast_path
        self._links = links
        self._known: dict[str, Joined] = {}

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        if not self._fast_path.is_here():
            return {}, {}
        found = ((key, self._links(wanted.objects.get(key))) for key in keys)
        return {key: joined for key, joined in found if joined}, {}

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver. What a link has is remembered: others who change it are heard of."""
        looked: Iterable[str] = self._known if keys is None else self._known.keys() & keys
        return {key: self._known[key] for key in looked if self._is_joined(key)}

    def _is_joined(self, key: str) -> bool:
        return all(self._fast_path.has(name, mtu) for name, mtu in self._known[key].items())

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        for key in delta.gone:
            for name in self._known.pop(key, {}):
                self._fast_path.leave(name)
        for key, joined in delta.put.items():
            for name in self._known.get(key, {}).keys() - joined.keys():
                self._fast_path.leave(name)
            self._known[key] = joined
            for name, mtu in joined.items():
                self._fast_path.join(name, mtu)
        return {}
