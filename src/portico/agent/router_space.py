# SPDX-License-Identifier: Apache-2.0
"""The network namespaces of routers, and what is asked and done in them.

The calling thread goes into a router's namespace and comes back: a thread for each would cost more than all that is
done there. Nothing is kept open, so that it does not matter how many routers there are.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address

from portico.agent import kernel, meter_rules, netlink, owner, router_rules
from portico.agent.announce import announce
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.drivers.libnftables import Nft, NftError
from portico.agent.drivers.sysctls import SPARSE
from portico.agent.gateways import Gateways
from portico.agent.links import Links
from portico.agent.meter_rules import Metering
from portico.agent.proxies import Proxies
from portico.agent.router_rules import Translation
from portico.agent.routes import Routes
from portico.agent.switches import Switches

SWITCHES: Mapping[str, str] = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/conf/all/forwarding": "1",
    # what a namespace takes over from the host
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    # of two legs in one segment each answers for its own address
    "ipv4/conf/all/arp_ignore": "1",
    "ipv4/conf/all/arp_announce": "2",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/addr_gen_mode": "0",
    # the addresses are ours by the store's word, and other hosts have them too
    "ipv6/conf/default/accept_dad": "0",
    # what it tracks it sees a part of (see `fast_path`)
    "netfilter/nf_conntrack_tcp_be_liberal": "1",
    **SPARSE,
}
"""In the order in which they are set: the first sets others back."""

_ANSWERING: Mapping[str, str] = {"ipv6/conf/all/proxy_ndp": "1"}
_SPREADING: Mapping[str, str] = dict.fromkeys((f"ipv{it}/fib_multipath_hash_policy" for it in (4, 6)), "1")

ASK_AGAIN_MS = "50"
"""When a port is asked again for its MAC address: one that has just come may have been asked before it listened."""

_GET_GENERATION = 0x0A10
_NFGEN = struct.Struct("=BBH")


class RouterSpace:
    """A router's namespace while the calling thread is in it."""

    def __init__(self, netns: int) -> None:
        self.netns = netns
        """A descriptor of the namespace."""
        self._route = netlink.Socket(netlink.ROUTE)
        self._strict = netlink.Socket(netlink.ROUTE)
        self.links = Links(self._route)
        self.routes = Routes(self._strict)
        self.gateways = Gateways(self._strict, self.routes)
        self.proxies = Proxies(self._route)
        self._switches = Switches()

    def close(self) -> None:
        """Give up what was opened here."""
        self._route.close()
        self._strict.close()

    def is_set_up(self) -> bool:
        """Return whether the sysctls are those of a router."""
        return self._switches.read(SWITCHES) == SWITCHES

    def set_up(self) -> None:
        """Make the namespace one of a router."""
        self._switches.write(SWITCHES)
        self.links.change("lo", up=True)

    def spread(self) -> None:
        """Have the next hop of a connection, where there are several, be told by its ports, too."""
        self._switches.write(_SPREADING)

    def spreads(self) -> bool:
        """Tell whether the next hop of a connection is told by its ports, too."""
        return self._switches.read(_SPREADING) == _SPREADING

    def answer(self, links: Collection[str]) -> None:
        """Have links answer for the addresses of `proxies`, and at once: nobody else does."""
        self._switches.write({**_ANSWERING, **{f"ipv6/neigh/{link}/proxy_delay": "0" for link in links}})

    def answers(self) -> bool:
        """Tell whether links answer for the addresses of `proxies`."""
        return self._switches.read(_ANSWERING) == _ANSWERING

    def be_quick(self, link: str) -> None:
        """Have who is asked for on a link, and does not answer, asked again soon."""
        self._switches.write({f"ipv{version}/neigh/{link}/retrans_time_ms": ASK_AGAIN_MS for version in (4, 6)})

    def generation(self) -> int:
        """Return the number that anybody's change of the rules in here makes another."""
        with netlink.Socket(netlink.NETFILTER) as netfilter:
            [answer] = netfilter.ask(_GET_GENERATION, _NFGEN.pack(socket.AF_UNSPEC, 0, 0))
        return int.from_bytes(netlink.attributes(answer, _NFGEN.size)[1], "big")

    def translate(self, wanted: Translation) -> None:
        """Put a translation in force in the place of whatever is, at once.

        Raises:
            NftError: it was refused, whole.
        """
        nft = Nft()
        try:
            nft.run(router_rules.text(wanted))
        finally:
            nft.close()

    def meter(self, wanted: Metering) -> None:
        """Have packets counted as wanted from now on; counters whose labels are still wanted go on.

        Raises:
            NftError: it was refused, whole.
        """
        nft = Nft()
        try:
            nft.run(meter_rules.text(wanted, self._counters(nft), secrets.token_hex(4)))
        finally:
            nft.close()

    def counters(self) -> dict[str, tuple[int, int]]:
        """Return packets and bytes of each counter for metering."""
        nft = Nft()
        try:
            return self._counters(nft)
        finally:
            nft.close()

    def _counters(self, nft: Nft) -> dict[str, tuple[int, int]]:
        with contextlib.suppress(NftError):  # there is no such table
            return meter_rules.counters(nft.run(f"list counters table {meter_rules.TABLE}"))
        return {}

    def forget_connections(self, addresses: Collection[str] | None) -> None:
        """Forget the connections to and from `addresses` as they were begun; None: all."""
        with netlink.Socket(netlink.NETFILTER) as netfilter:
            Conntrack(netfilter).forget(None if addresses is None else {ip_address(text).packed for text in addresses})

    def announce(self, link: str, mac: str, addresses: Collection[str]) -> None:
        """Tell neighbours of addresses."""
        announce(link, mac, addresses)


class RouterSpaces:
    """The namespaces of the routers of the agent whose own namespace has the descriptor `home`, called `netns`."""

    def __init__(self, netns: str, home: int) -> None:
        self._prefix = owner.router_netns_prefix(netns)
        self._home = home

    def known(self) -> list[str]:
        """Return the routers that have a namespace, by the short form of their ids."""
        return [name.removeprefix(self._prefix) for name in kernel.names(self._prefix)]

    @contextlib.contextmanager
    def inside(self, short: str, *, make: bool = False) -> Iterator[RouterSpace | None]:
        """Have the calling thread in a router's namespace meanwhile; None where there is none, unless it is to be made.

        Raises:
            OSError: it cannot be made.
        """
        name = f"{self._prefix}{short}"
        try:
            netns = kernel.ensure_named(name) if make else kernel.open_named(name)
        except FileNotFoundError:
            yield None
            return
        with kernel.visit(netns, self._home):
            space = RouterSpace(netns)
            try:
                yield space
            finally:
                space.close()

    def remove(self, short: str) -> None:
        """Remove a router's namespace, if it is there, with all that is in it; the kernel takes its time, not ours."""
        kernel.remove_named(f"{self._prefix}{short}")
