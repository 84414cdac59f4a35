# SPDX-License-Identifier: Apache-2.0
"""Routes and addresses of one network namespace by rtnetlink: those that lead to ports, known by their protocol.

Sources: rtnetlink(7), `include/uapi/linux/rtnetlink.h`, `net/ipv4/fib_frontend.c`, `net/ipv6/route.c`.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from portico.agent import netlink, owner
from portico.agent.netlink import attr, u32

_NEW_ROUTE, _DEL_ROUTE, _GET_ROUTE = 24, 25, 26
_DEL_ADDRESS, _GET_ADDRESS = 21, 22
_RTMSG = struct.Struct("=BBBBBBBBI")
_IFADDR = struct.Struct("=BBBBI")
_DST, _OIF, _GATEWAY, _MULTIPATH, _TABLE = 1, 4, 5, 9, 15
_HOP = struct.Struct("=HBBi")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_TABLE_MAIN = 254
_UNICAST = 1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_ONLINK = 4
_FIB_MATCH = 0x2000
_SOL_NETLINK, _STRICT = 270, 12
# What is answered where no route leads to the address, or one of a type that leads nowhere: EINVAL is a blackhole, as a
# speaker has it for the host's blocks (`fib_props` in net/ipv4/fib_semantics.c).
_NOWHERE = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ESRCH, errno.ENODEV, errno.EINVAL, errno.EACCES, errno.EAGAIN}
)
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Route:
    """A route: to `cidr` by way of the link with `index`, and there to `gateway`, or to whoever has the address.

    `beside` are further ones, links and gateways in order: each connection takes one of all.
    """

    cidr: str
    index: int
    gateway: str = ""
    beside: tuple[tuple[int, str], ...] = ()

    @property
    def hops(self) -> tuple[tuple[int, str], ...]:
        """Return all of its links and gateways."""
        return (self.index, self.gateway), *self.beside


def spread(cidr: str, hops: Iterable[tuple[int, str]]) -> Route:
    """Return the route to `cidr` by these links and gateways, whatever their order."""
    (index, gateway), *beside = sorted(set(hops))
    return Route(cidr, index, gateway, tuple(beside))


class Routes:
    """Routes and addresses of the namespace that `route` was opened in; the socket is for nothing else.

    It asks strictly (`NETLINK_GET_STRICT_CHK`): the kernel then gives only what was asked for.
    """

    def __init__(self, route: netlink.Socket) -> None:
        route.option(_SOL_NETLINK, _STRICT, 1)
        self._route = route

    def all(self) -> list[Route]:
        """Return all routes of `owner.PROTOCOL`."""
        found = []
        for family in _FAMILIES.values():
            question = _RTMSG.pack(family, 0, 0, 0, _TABLE_MAIN, owner.PROTOCOL, 0, 0, 0)
            found += [_parse(answer) for answer in self._route.dump(_GET_ROUTE, question)]
        return found

    def of_table(self, table: int) -> list[Route]:
        """Return all routes of IPv4 and `owner.PROTOCOL` in a table other than `main`; none where there is no such."""
        question = _RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, owner.PROTOCOL, 0, 0, 0) + u32(_TABLE, table)
        try:
            return [_parse(answer) for answer in self._route.dump(_GET_ROUTE, question)]
        except netlink.NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            return []

    def find(self, cidr: str) -> Route | None:
        """Return the route of `owner.PROTOCOL` to just `cidr`."""
        net = ipaddress.ip_network(cidr)
        if net.prefixlen != net.max_prefixlen:  # what is found for one of its addresses may be a longer one
            return next((route for route in self.all() if route.cidr == cidr), None)
        family, packed = _FAMILIES[net.version], net.network_address.packed
        body = _RTMSG.pack(family, net.prefixlen, 0, 0, 0, 0, 0, 0, _FIB_MATCH) + attr(_DST, packed)
        try:
            answer = self._route.get(_GET_ROUTE, body)
        except netlink.NetlinkError as error:
            if error.errno in _NOWHERE:
                return None
            raise
        found = _parse(answer) if answer[5] == owner.PROTOCOL else None
        return found if found is not None and found.cidr == cidr else None

    def put_in(self, table: int, route: Route) -> None:
        """Make a route in a table other than `main`, in the place of whatever leads to the same addresses there."""
        self._route.ask(_NEW_ROUTE, _body(route, table), netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE)

    def remove_from(self, table: int, route: Route) -> None:
        """Remove a route from a table other than `main`; no error if there is none."""
        self._remove(_body(route, table))

    def put(self, route: Route, *, instead: bool) -> None:
        """Make a route, with `instead` in the place of whatever leads to the same addresses.

        Raises:
            NetlinkError: EEXIST when another route is there.
        """
        flags = netlink.NLM_F_CREATE | (netlink.NLM_F_REPLACE if instead else netlink.NLM_F_EXCL)
        try:
            self._route.ask(_NEW_ROUTE, _body(route), flags)
        except netlink.NetlinkError as error:
            if error.errno != errno.EEXIST or self.find(route.cidr) != route:
                raise

    def remove(self, route: Route) -> None:
        """Remove a route; no error if there is none."""
        self._remove(_body(route))

    def _remove(self, body: bytes) -> None:
        try:
            self._route.ask(_DEL_ROUTE, body)
        except netlink.NetlinkError as error:
            if not netlink.is_absent(error):
                raise

    def addresses(self, index: int = 0) -> Mapping[int, frozenset[str]]:
        """Return the addresses, with prefix lengths, of the link with `index`, or by index those of all links."""
        found: defaultdict[int, set[str]] = defaultdict(set)
        for family in _FAMILIES.values():
            for answer in self._route.dump(_GET_ADDRESS, _IFADDR.pack(family, 0, 0, 0, index)):
                _, length, _, _, link = _IFADDR.unpack_from(answer)
                values = netlink.attributes(answer, _IFADDR.size)
                local = values.get(_IFA_LOCAL) or values[_IFA_ADDRESS]
                found[link].add(f"{ipaddress.ip_address(local)}/{length}")
        return {link: frozenset(texts) for link, texts in found.items()}

    def remove_address(self, index: int, address: str) -> None:
        """Take an address, with prefix length, from the link with `index`; no error if it is not there."""
        interface = ipaddress.ip_interface(address)
        body = _IFADDR.pack(_FAMILIES[interface.version], interface.network.prefixlen, 0, 0, index)
        try:
            self._route.ask(_DEL_ADDRESS, body + attr(_IFA_LOCAL, interface.ip.packed))
        except netlink.NetlinkError as error:
            if error.errno != errno.EADDRNOTAVAIL and not netlink.is_absent(error):
                raise


def _body(route: Route, table: int = _TABLE_MAIN) -> bytes:
    net = ipaddress.ip_network(route.cidr)
    scope = _SCOPE_LINK if net.version == 4 and not route.gateway else _SCOPE_UNIVERSE
    flags = _ONLINK if route.gateway and net.version == 4 else 0
    family, short = _FAMILIES[net.version], table if table < 256 else 0
    body = _RTMSG.pack(
        family, net.prefixlen, 0, 0, short, owner.PROTOCOL, scope, _UNICAST, 0 if route.beside else flags
    )
    body += attr(_DST, net.network_address.packed) + (b"" if short else u32(_TABLE, table))
    if route.beside:
        return body + attr(_MULTIPATH, b"".join(_hop(index, gateway, flags) for index, gateway in route.hops))
    return body + u32(_OIF, route.index) + _by(route.gateway)


def _hop(index: int, gateway: str, flags: int) -> bytes:
    by = _by(gateway)
    return _HOP.pack(_HOP.size + len(by), flags, 0, index) + by


def _by(gateway: str) -> bytes:
    return attr(_GATEWAY, ipaddress.ip_address(gateway).packed) if gateway else b""


def _parse(body: bytes) -> Route:
    family, length = body[0], body[1]
    values = netlink.attributes(body, _RTMSG.size)
    packed = values.get(_DST) or bytes(4 if family == socket.AF_INET else 16)
    cidr = f"{ipaddress.ip_address(packed)}/{length}"
    if several := values.get(_MULTIPATH):
        return spread(cidr, _hops(several))
    return Route(cidr, netlink.number(values.get(_OIF, b"")), _address(values.get(_GATEWAY)))


def _hops(data: bytes) -> Iterator[tuple[int, str]]:
    offset = 0
    while offset + _HOP.size <= len(data):
        length, _, _, index = _HOP.unpack_from(data, offset)
        values = netlink.attributes(data[offset : offset + length], _HOP.size)
        yield index, _address(values.get(_GATEWAY))
        offset += max((length + 3) & ~3, _HOP.size)


def _address(packed: bytes | None) -> str:
    return str(ipaddress.ip_address(packed)) if packed else ""
