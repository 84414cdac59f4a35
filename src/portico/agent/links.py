# SPDX-License-Identifier: Apache-2.0
"""Kernel links by rtnetlink: what the agent reads of them, and the messages that make, change and remove them.

Sources: rtnetlink(7), `include/uapi/linux/if_link.h`, `drivers/net/veth.c`, `net/bridge/br_netlink.c`.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from portico.agent import netlink
from portico.agent.netlink import attr, nest, text, u8, u32

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_SETLINK = 19
GROUP_LINK = 1
SCOPE_LINK = 253

IFF_UP = 1
IFF_PROMISC = 0x100
"""As somebody set it; what the kernel itself does for a bridge or a capture does not show."""

_IFLA_ADDRESS = 1
IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_MASTER = 10
_IFLA_OPERSTATE = 16
_IFLA_LINKINFO = 18
_IFLA_IFALIAS = 20
_IFLA_AF_SPEC = 26
_IFLA_NET_NS_FD = 28
_IFLA_EXT_MASK = 29
_INFO_KIND = 1
_INFO_DATA = 2
_INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 4, 5
_BRPORT_ISOLATED = 33
_VETH_INFO_PEER = 1
_BR_FORWARD_DELAY = 1
_BR_STP_STATE = 5
_BR_MCAST_SNOOPING = 23
_BR_NF_CALL_IPTABLES = 36
_BR_NF_CALL_IP6TABLES = 37
_BR_MULTI_BOOLOPT = 46
_NO_LINK_LOCAL_LEARN = 1
_INET6_ADDR_GEN_MODE = 8
_ADDR_GEN_NONE = 1
_SKIP_STATS = 8
_OPER_UP = 6

_RTM_NEWADDR = 20
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_FLAGS = 8
_IFA_F_NODAD = 2
_IFA_F_NOPREFIXROUTE = 0x200

_IFADDR = struct.Struct("=BBBBI")
_IFINFO = struct.Struct("=BxHiII")


@dataclass(frozen=True, slots=True)
class Link:
    """A kernel link. `master` is the index of its bridge, 0 if none. `bridge` holds a bridge's own settings."""

    index: int
    name: str
    kind: str
    alias: str
    mac: str
    mtu: int
    master: int
    up: bool
    bridge: tuple[int, ...] = ()
    promiscuous: bool = False


BRIDGE_SETTINGS = (0, 0, 0, 1, 1, 1)
"""`Link.bridge` of our bridges: STP off, no forward delay, no multicast snooping, IPv4 and IPv6 passed to netfilter,
and nothing learnt from frames to reserved groups (LLDP): no filter sees those, so a guarded port could draw
another's traffic."""

UNTRACKED_SETTINGS = (0, 0, 0, 0, 0, 1)
"""The same of a bridge that has no ports to be filtered: nothing is passed to netfilter's hooks for IP."""


class Links:
    """The links of one network namespace, over a socket opened there."""

    def __init__(self, route: netlink.Socket) -> None:
        self._route = route

    def all(self) -> list[Link]:
        """Return every link, in one dump without the counters."""
        body = _IFINFO.pack(0, 0, 0, 0, 0) + u32(_IFLA_EXT_MASK, _SKIP_STATS)
        return [parse(answer) for answer in self._route.dump(RTM_GETLINK, body)]

    def find(self, name: str) -> Link | None:
        """Return the link called `name`."""
        body = _IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + u32(_IFLA_EXT_MASK, _SKIP_STATS)
        try:
            return parse(self._route.get(RTM_GETLINK, body))
        except netlink.NetlinkError as error:
            if netlink.is_absent(error):
                return None
            raise

    def at(self, index: int) -> Link | None:
        """Return the link with `index`."""
        try:
            return parse(self._route.get(RTM_GETLINK, _IFINFO.pack(0, 0, index, 0, 0)))
        except netlink.NetlinkError as error:
            if netlink.is_absent(error):
                return None
            raise

    def passes(self, name: str) -> bool:
        """Return whether the link `name` passes frames: after it goes up that takes the kernel a moment (RFC 2863)."""
        body = _IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + u32(_IFLA_EXT_MASK, _SKIP_STATS)
        found = netlink.attributes(self._route.get(RTM_GETLINK, body), _IFINFO.size)
        return found.get(_IFLA_OPERSTATE, b"") == bytes([_OPER_UP])

    def add_bridge(self, name: str, mac: str, mtu: int, settings: tuple[int, ...] = BRIDGE_SETTINGS) -> None:
        """Make a bridge, up; `settings` as in `Link.bridge`."""
        body = _IFINFO.pack(0, 0, 0, IFF_UP, IFF_UP) + text(IFLA_IFNAME, name)
        body += attr(_IFLA_ADDRESS, pack_mac(mac)) + u32(_IFLA_MTU, mtu) + _bridge_info(settings)
        self._route.ask(RTM_NEWLINK, body, netlink.NLM_F_CREATE | netlink.NLM_F_EXCL)

    def reset_bridge(self, name: str, settings: tuple[int, ...] = BRIDGE_SETTINGS) -> None:
        """Give an existing bridge `settings` again."""
        self._route.ask(RTM_NEWLINK, _IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + _bridge_info(settings))

    def add_veth(
        self, name: str, *, master: int, mtu: int, peer: str, peer_mac: str, peer_netns: int, mac: str = ""
    ) -> None:
        """Make a veth pair, both ends down: `name` here under `master`, `peer` in the namespace `peer_netns`.

        One message, so that there is no moment with half a pair. A `master` of 0 is none; a MAC address that is not
        given is the kernel's choice.
        """
        far = _IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, peer) + u32(_IFLA_MTU, mtu)
        far += u32(_IFLA_NET_NS_FD, peer_netns) + (attr(_IFLA_ADDRESS, pack_mac(peer_mac)) if peer_mac else b"")
        info = nest(_IFLA_LINKINFO, text(_INFO_KIND, "veth"), nest(_INFO_DATA, attr(_VETH_INFO_PEER, far)))
        body = _IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + u32(_IFLA_MTU, mtu)
        body += (u32(_IFLA_MASTER, master) if master else b"") + (attr(_IFLA_ADDRESS, pack_mac(mac)) if mac else b"")
        body += info
        self._route.ask(RTM_NEWLINK, body, netlink.NLM_F_CREATE | netlink.NLM_F_EXCL)

    def add_ifb(self, name: str, alias: str) -> None:
        """Make an intermediate functional block: what is redirected to it goes on where it came from, once it is sent.

        It is made down. Source: `drivers/net/ifb.c`.
        """
        body = _IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + nest(_IFLA_LINKINFO, text(_INFO_KIND, "ifb"))
        self._route.ask(RTM_NEWLINK, body, netlink.NLM_F_CREATE | netlink.NLM_F_EXCL)
        self.change(name, alias=alias)

    def change(
        self,
        name: str,
        *,
        up: bool | None = None,
        alias: str | None = None,
        mac: str | None = None,
        mtu: int | None = None,
        master: int | None = None,
        promiscuous: bool | None = None,
    ) -> None:
        """Change what is given of the link `name`."""
        flags = {IFF_UP: up, IFF_PROMISC: promiscuous}
        given = sum(flag for flag, value in flags.items() if value is not None)
        body = _IFINFO.pack(0, 0, 0, sum(flag for flag, value in flags.items() if value), given)
        body += text(IFLA_IFNAME, name)
        if alias is not None:
            body += attr(_IFLA_IFALIAS, alias.encode())
        if mac is not None:
            body += attr(_IFLA_ADDRESS, pack_mac(mac))
        if mtu is not None:
            body += u32(_IFLA_MTU, mtu)
        if master is not None:
            body += u32(_IFLA_MASTER, master)
        self._route.ask(RTM_SETLINK, body)

    def isolate(self, name: str) -> None:
        """Keep the port `name` of a bridge from those of its ports that are isolated as well. Source: bridge(8)."""
        port = nest(_INFO_SLAVE_DATA, u8(_BRPORT_ISOLATED, 1))
        info = nest(_IFLA_LINKINFO, text(_INFO_SLAVE_KIND, "bridge"), port)
        self._route.ask(RTM_NEWLINK, _IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + info)

    def add_address(
        self, name: str, address: str, *, peer: str = "", scope: int = 0, prefix_route: bool = True
    ) -> None:
        """Give the link `name` an address, with prefix length; an IPv6 address is usable at once.

        `peer` is the address at the other end of a point-to-point link, `scope` as in rtnetlink(7): an address of
        `SCOPE_LINK` is none that the kernel chooses for what goes beyond the link. Without `prefix_route` the rest of
        its network is not taken to be on the link.
        """
        link = self.find(name)
        interface = ipaddress.ip_interface(address)
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        flags = 0 if interface.version == 4 else _IFA_F_NODAD
        body = _IFADDR.pack(family, interface.network.prefixlen, flags, scope, link.index if link else 0)
        packed = interface.ip.packed
        far = ipaddress.ip_address(peer).packed if peer else packed
        body += attr(_IFA_LOCAL, packed) + attr(_IFA_ADDRESS, far)
        if not prefix_route:
            body += u32(_IFA_FLAGS, flags | _IFA_F_NOPREFIXROUTE)
        self._route.ask(_RTM_NEWADDR, body, netlink.NLM_F_CREATE)

    def mute_ipv6(self, name: str) -> None:
        """Keep the kernel from giving the link `name` an IPv6 link-local address when it comes up."""
        inet6 = nest(socket.AF_INET6, u8(_INET6_ADDR_GEN_MODE, _ADDR_GEN_NONE))
        body = _IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + nest(_IFLA_AF_SPEC, inet6)
        self._route.ask(RTM_SETLINK, body)

    def remove(self, name: str) -> None:
        """Remove the link `name`; no error if there is none."""
        self._remove(_IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name))

    def remove_at(self, index: int) -> None:
        """Remove the link with `index`; no error if there is none."""
        self._remove(_IFINFO.pack(0, 0, index, 0, 0))

    def _remove(self, body: bytes) -> None:
        try:
            self._route.ask(RTM_DELLINK, body)
        except netlink.NetlinkError as error:
            if not netlink.is_absent(error):
                raise


@contextmanager
def unless_taken() -> Iterator[None]:
    """Pass over the want of a link that whoever waits for it may take into another namespace at any moment."""
    try:
        yield
    except netlink.NetlinkError as error:
        if not netlink.is_absent(error):
            raise


def name_of(body: bytes) -> str:
    """Read only the name in a link message; it comes first."""
    return next(
        netlink.string(value) for kind, value in netlink.each_attribute(body, _IFINFO.size) if kind == IFLA_IFNAME
    )


def index_of(body: bytes) -> int:
    """Read only the index in a link message."""
    return int(_IFINFO.unpack_from(body)[2])


def parse(body: bytes) -> Link:
    """Read one link message."""
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    found = netlink.attributes(body, _IFINFO.size)
    info = netlink.attributes(found.get(_IFLA_LINKINFO, b""))
    kind = netlink.string(info.get(_INFO_KIND, b""))
    return Link(
        index=index,
        name=netlink.string(found[IFLA_IFNAME]),
        kind=kind,
        alias=netlink.string(found.get(_IFLA_IFALIAS, b"")),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=netlink.number(found.get(_IFLA_MTU, b"")),
        master=netlink.number(found.get(_IFLA_MASTER, b"")),
        up=bool(flags & IFF_UP),
        promiscuous=bool(flags & IFF_PROMISC),
        bridge=_bridge_settings(info.get(_INFO_DATA, b"")) if kind == "bridge" else (),
    )


def pack_mac(mac: str) -> bytes:
    """Return the six bytes of a MAC address in text."""
    return bytes.fromhex(mac.replace(":", ""))


def _bridge_info(settings: tuple[int, ...]) -> bytes:
    stp, delay, snooping, iptables, ip6tables, deaf = settings
    packed = (
        u32(_BR_STP_STATE, stp),
        u32(_BR_FORWARD_DELAY, delay),
        u8(_BR_MCAST_SNOOPING, snooping),
        u8(_BR_NF_CALL_IPTABLES, iptables),
        u8(_BR_NF_CALL_IP6TABLES, ip6tables),
        attr(_BR_MULTI_BOOLOPT, struct.pack("=II", deaf, _NO_LINK_LOCAL_LEARN)),
    )
    return nest(_IFLA_LINKINFO, text(_INFO_KIND, "bridge"), nest(_INFO_DATA, *packed))


def _bridge_settings(data: bytes) -> tuple[int, ...]:
    found = netlink.attributes(data)
    return (
        netlink.number(found.get(_BR_STP_STATE, b"")),
        netlink.number(found.get(_BR_FORWARD_DELAY, b"")),
        netlink.number(found.get(_BR_MCAST_SNOOPING, b"")),
        netlink.number(found.get(_BR_NF_CALL_IPTABLES, b"")),
        netlink.number(found.get(_BR_NF_CALL_IP6TABLES, b"")),
        netlink.number(found.get(_BR_MULTI_BOOLOPT, b"")[:4]) & _NO_LINK_LOCAL_LEARN,
    )
