# SPDX-License-Identifier: Apache-2.0
"""Routes, addresses and sysctls of a `FakeKernel`."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from ipaddress import ip_network

from portico.agent.drivers.route import Side
from portico.agent.netlink import NetlinkError
from portico.agent.routes import Route, Routes
from portico.agent.switches import Switches
from portico.model.snapshot import IpAddress
from portico.testing.fakekernel import FakeKernel, FakeLinks


class FakeRoutes(Routes):
    """The routes of one namespace."""

    def __init__(self, kernel: FakeKernel, place: str) -> None:
        self._kernel = kernel
        self._place = place

    @property
    def _routes(self) -> dict[str, Route]:
        return self._kernel.routes[self._place]

    def all(self) -> list[Route]:
        """See Routes."""
        return list(self._routes.values())

    def find(self, cidr: str) -> Route | None:
        """See Routes."""
        return self._routes.get(cidr)

    def put(self, route: Route, *, instead: bool) -> None:
        """See Routes."""
        known = self._routes.get(route.cidr)
        if known == route:
            return
        if known is not None and not instead:
            raise NetlinkError(errno.EEXIST, "File exists")
        found = self._kernel.by_index(route.index)
        if found is None or not found[1].up:
            raise NetlinkError(errno.ENETDOWN, "Network is down")
        if self._kernel.write("add route", route.cidr, found[1].name, found[1].alias):
            self._routes[route.cidr] = route

    def remove(self, route: Route) -> None:
        """See Routes."""
        if self._routes.get(route.cidr) == route and self._kernel.write("remove route", route.cidr):
            del self._routes[route.cidr]

    def remove_address(self, index: int, address: str) -> None:
        """See Routes."""
        found = self._kernel.by_index(index)
        if found is not None and self._kernel.write("remove address", found[1].name, found[1].alias):
            self._kernel.addresses[index].discard(address)

    def addresses(self, index: int = 0) -> Mapping[int, frozenset[str]]:
        """See Routes."""
        found = {link: frozenset(texts) for link, texts in self._kernel.addresses.items() if texts}
        return {link: texts for link, texts in found.items() if index in (0, link)}


class FakeSwitches(Switches):
    """The sysctls of one namespace; what was never set is 0."""

    def __init__(self, kernel: FakeKernel, place: str) -> None:
        self._kernel = kernel
        self._place = place

    def read(self, paths: Collection[str]) -> dict[str, str]:
        """See Switches."""
        return {path: self._kernel.switches[self._place].get(path, "0") for path in paths}

    def write(self, values: Mapping[str, str]) -> None:
        """See Switches. A link on which IPv6 is switched off loses its addresses."""
        if not self._kernel.write("sysctl", *values):
            return
        self._kernel.switches[self._place] |= values
        for path, value in values.items():
            name = path.removeprefix("ipv6/conf/").removesuffix("/disable_ipv6")
            link = self._kernel.namespaces[self._place].get(name)
            if link is not None and value == "1":
                self._kernel.addresses[link.index] = {
                    address for address in self._kernel.addresses[link.index] if ":" not in address
                }

    def accept_advertisements(self) -> None:
        """See Switches."""


def side(kernel: FakeKernel, place: str) -> Side:
    """Return one of the two namespaces as drivers work on it."""
    return Side(FakeLinks(kernel, place), FakeRoutes(kernel, place), FakeSwitches(kernel, place))


def led_over(kernel: FakeKernel, place: str, destination: IpAddress) -> int:
    """Return the index of the link that a packet to `destination` takes; 0 if no route leads there."""
    fitting = [
        (ip_network(cidr).prefixlen, route.index)
        for cidr, route in kernel.routes[place].items()
        if destination in ip_network(cidr)
    ]
    return max(fitting)[1] if fitting else 0
