# SPDX-License-Identifier: Apache-2.0
"""What stays a while after its last port. Pure but for the clock.

Making and removing a bridge, a router, an uplink or the routed space takes longer than all the rest of a port, and the
next port is often on its way. Nothing stays that could be in the way: a router only if no port is left on its networks,
an uplink only if no router is left, the routed space only if none of its ports is, and none of them when something
comes that might meet it. A router that is on a physical network goes at once: another host may have it already.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import chain

from portico.agent.delta import Wanted
from portico.hoststate import ROUTED, Bridge, HostObject, Router, Space, Update, Uplink, Vif, key_of


class Lingering:
    """Keys of objects that are no longer wanted, each with when it goes, `linger_s` after it could.

    `clock`: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float], linger_s: float) -> None:
        self._clock = clock
        self._linger_s = linger_s
        self._ends: dict[str, float] = {}

    def clear(self) -> None:
        """Let everything go."""
        self._ends.clear()

    def take(self, wanted: Wanted, update: Update) -> tuple[list[str], set[str]]:
        """Take in an Update that is not complete; return which keys go now, and which came back as they were."""
        given = {key_of(item): item for item in update.objects}
        back = {key for key in given if self._ends.pop(key, None) is not None and wanted.objects[key] == given[key]}
        for key in self._ends:
            if any(_meet(wanted.objects[key], item) for item in update.objects):
                self._ends[key] = self._clock()
        gone = frozenset(update.gone)

        def is_needed(item: HostObject) -> bool:
            others = chain(given.items(), wanted.objects.items())
            return any(_needs(other, item) for key, other in others if key not in gone)

        for key in update.gone if self._linger_s else ():
            item = wanted.objects.get(key)
            stays = isinstance(item, Bridge) or (isinstance(item, Router | Uplink | Space) and not is_needed(item))
            if stays and not _is_outside(wanted, item):
                self._ends.setdefault(key, self._clock() + self._linger_s)
        return [key for key in update.gone if key not in self._ends], back

    def over(self) -> list[str]:
        """Return the keys whose time is over, and forget them."""
        now = self._clock()
        over = [key for key, at in self._ends.items() if at <= now]
        for key in over:
            del self._ends[key]
        return over

    def ends(self) -> Collection[float]:
        """Return when keys go."""
        return self._ends.values()


def _is_outside(wanted: Wanted, item: HostObject | None) -> bool:
    """Tell whether an object is a router on a physical network."""
    bridges = (wanted.objects.get(f"bridge/{name}") for name in (_networks(item) if isinstance(item, Router) else ()))
    return any(isinstance(bridge, Bridge) and bridge.physical_network for bridge in bridges)


def _needs(item: HostObject, going: HostObject) -> bool:
    """Tell whether an object that is wanted must notice at once that another one goes."""
    if isinstance(going, Router):
        return isinstance(item, Vif) and item.network_id in _networks(going)
    if isinstance(going, Space):
        return isinstance(item, Vif) and item.network_id == ROUTED
    return isinstance(going, Uplink) and isinstance(item, Router)


def _meet(going: HostObject, coming: HostObject) -> bool:
    """Tell whether an object that comes might meet one that is about to go: an address that is given out again."""
    match going, coming:
        case Router(), Vif():
            return coming.network_id in _networks(going)
        case Router(), Router():
            return not _addresses(going).isdisjoint(_addresses(coming))
        case Uplink() | Space(), Uplink():
            return True
    return False


def _networks(router: Router) -> set[str]:
    return {leg.network_id for leg in router.legs}


def _addresses(router: Router) -> set[tuple[str, str]]:
    """Return what a router answers for, with the network on which it does so."""
    networks = {leg.port_id: leg.network_id for leg in router.legs}
    own = {(leg.network_id, address.partition("/")[0]) for leg in router.legs for address in leg.addresses}
    return own | {(networks.get(item.port_id, ""), item.address) for item in router.floating}
