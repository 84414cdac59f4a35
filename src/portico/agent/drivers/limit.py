# SPDX-License-Identifier: Apache-2.0
"""How much a port may send and receive.

What goes to the workload waits at our end of the port's pair. What comes from it is led, as it comes in there, through
a link of kind ifb, waits at that, and goes on where it was taken from: to the bridge or to be routed, and so to the
filter. So the container's or hypervisor's end, which may be out of our reach, has no part in it. Links without a limit
have nothing of this.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from portico.agent import owner
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.link import LinkTable
from portico.agent.links import Link
from portico.agent.netlink import is_absent
from portico.agent.redirect import Redirects
from portico.agent.shaper import Shape, Shapers, shape
from portico.hoststate import Vif

WORD = "limit"


@dataclass(frozen=True, slots=True)
class LimitItem:
    """What is wanted or found at a port's link; `egress` None although `whole` is False: there is half of it."""

    egress: Shape | None
    ingress: Shape | None
    whole: bool = True


class LimitDriver:
    """Keys `vif/...` of ports whose bandwidth is limited. Comes before the ports go up."""

    def __init__(self, table: LinkTable, shapers: Shapers, redirects: Redirects) -> None:
        self._table = table
        self._shapers = shapers
        self._redirects = redirects
        self._concerned: set[str] = set()
        """Keys that were planned or found here: what others send waits nowhere."""

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        items = {}
        for key in keys:
            vif = wanted.objects.get(key)
            if isinstance(vif, Vif) and vif.qos is not None and (vif.qos.egress or vif.qos.ingress):
                sent, received = vif.qos.egress, vif.qos.ingress
                egress = shape(sent, vif.mtu) if sent else None
                items[key] = LimitItem(egress, shape(received, vif.mtu) if received else None)
        self._concerned |= items.keys()
        return items, {}

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver. When everything is read, an ifb that nobody has named yet is removed."""
        table = self._table
        looked = self._concerned.intersection(keys or ())
        if keys is not None:
            table.refresh([_names(key)[1] for key in looked])
            names = [name for key in keys if key.startswith("vif/") for name in _names(key)]
            links = [table.by_name[name] for name in names if name in table.by_name]
            shapes = {link.index: one for link in links if (one := self._shapers.at(link.index)) is not None}
        else:
            links = [link for link in [*table.by_name.values()] if link.name[:2] in ("pb", "pi")]
            for link in links:
                if link.kind == "ifb" and not _key(link):
                    table.remove(link.name)
            shapes = self._shapers.all()
        found: dict[str, Any] = {}
        for key in {key for link in links if (key := _key(link))}:
            item = self._item(key, shapes)
            if item is not None:
                found[key] = item
        self._concerned = self._concerned - looked | found.keys()
        return found

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key in delta.gone:
            try:
                self._set_ingress(key, None)
                self._end_egress(key)
            except OSError as error:
                troubles[key] = Trouble(f"limit of link {_names(key)[0]}: {error.strerror}")
        for key, item in delta.put.items():
            try:
                self._set_ingress(key, item.ingress)
                if item.egress is None:
                    self._end_egress(key)
                else:
                    self._set_egress(key, item.egress)
            except OSError as error:
                troubles[key] = Trouble(f"limit of link {_names(key)[0]}: {error.strerror}")
        return troubles

    def _item(self, key: str, shapes: Mapping[int, Shape]) -> LimitItem | None:
        """Return what there is at a port's link; None if that is nothing."""
        near, middle = (self._table.by_name.get(name) for name in _names(key))
        ingress = shapes.get(near.index) if near is not None else None
        if middle is None:
            return LimitItem(None, ingress) if ingress is not None else None
        is_led = near is not None and middle.up and self._redirects.target(near.index) == middle.index
        return LimitItem(shapes.get(middle.index), ingress, whole=is_led and middle.index in shapes)

    def _set_ingress(self, key: str, wanted: Shape | None) -> None:
        near = self._table.by_name.get(_names(key)[0])
        if near is None:
            if wanted is not None:
                raise OSError(errno.ENODEV, "it is missing")
        elif wanted is not None:
            self._shapers.put(near.index, wanted)
        else:
            self._shapers.remove(near.index)

    def _set_egress(self, key: str, wanted: Shape) -> None:
        """Lead what comes in through an ifb, which is as it must be before anything does."""
        near_name, name = _names(key)
        near, middle = (self._table.by_name.get(one) for one in (near_name, name))
        if near is None:
            raise OSError(errno.ENODEV, "it is missing")
        if middle is None or middle.kind != "ifb" or not owner.words(middle.alias):
            self._table.remove(name)
            self._table.kernel.add_ifb(name, owner.alias(owner.words(near.alias)[0], WORD))
            middle = self._table.kernel.find(name)
        if middle is None:
            raise OSError(errno.ENODEV, f"{name} is missing")
        self._shapers.put(middle.index, wanted)
        self._table.kernel.change(name, up=True)
        if self._redirects.target(near.index) != middle.index:
            self._redirects.put(near.index, middle.index)
        self._table.refresh([name])

    def _end_egress(self, key: str) -> None:
        near_name, name = _names(key)
        near = self._table.by_name.get(near_name)
        if near is not None:
            try:
                self._redirects.remove(near.index)
            except OSError as error:
                if not is_absent(error):  # whoever removes the pair is quicker
                    raise
        if name in self._table.by_name:
            self._table.retire(name)


def _names(key: str) -> tuple[str, str]:
    """Return the names of a port's link and of the one where what it sends waits."""
    port_id = key.partition("/")[2]
    return owner.port_link(port_id), owner.limit_link(port_id)


def _key(link: Link) -> str:
    """Return the key of the port that a link of ours belongs to; empty if it is none of those."""
    words = owner.words(link.alias)
    if (link.kind == "veth" and len(words) == 3) or (link.kind == "ifb" and words[1:] == [WORD]):
        return f"vif/{words[0]}"
    return ""
