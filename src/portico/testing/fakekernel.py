# SPDX-License-Identifier: Apache-2.0
"""A kernel for the agent's drivers that lives in memory, keeps state as the real one does, and fails when told to.

It stands in for the agent's access to rtnetlink, tc, conntrack and libnftables, and with `fakeservers` for DHCP
servers; drivers and loop are the real ones.
Every write asks `Faults` first, with the object's name and alias in the subject.
"""

from __future__ import annotations

import errno
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from portico.agent import netlink
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.drivers.libnftables import Nft, NftError
from portico.agent.gateways import Kept
from portico.agent.links import BRIDGE_SETTINGS, Link, Links
from portico.agent.netlink import NetlinkError
from portico.agent.proxies import Proxy
from portico.agent.router_rules import Translation
from portico.agent.routes import Route
from portico.agent.shaper import Shape, Shapers
from portico.agent.shares import Division, Shares
from portico.agent.translated import Translated
from portico.agent.verdict import Connection, Judge
from portico.testing.faults import Faults, Outcome
from portico.testing.nft_state import NftState, Table, listing

HOST, OURS = "host", "portico"
DESCRIPTOR = 7
"""What stands for the descriptor of the host's namespace."""


@dataclass(slots=True)
class Process:
    """A DHCP server: its namespace, what it has read, and who (address to MAC address) has leased something of it."""

    pid: int
    home: dict[str, Link]
    config: str
    texts: Mapping[str, str] = field(default_factory=dict)
    leased: dict[str, str] = field(default_factory=dict)


class FakeKernel:
    """Two network namespaces: the host's, and the agent's with its nft tables. DHCP servers have more."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.namespaces: dict[str, dict[str, Link]] = {HOST: {}, OURS: {}}
        self.descriptors = {DESCRIPTOR: HOST}
        self.peers: dict[int, int] = {}
        self.addresses: defaultdict[int, set[str]] = defaultdict(set)
        self.redirects: dict[int, int] = {}
        self.shapes: dict[int, Shape] = {}
        self.shares: dict[int, Division] = {}
        self.tagged: dict[int, tuple[int, int]] = {}
        self.untagged: dict[tuple[int, int], int] = {}
        self.notes: dict[tuple[int, int], str] = {}
        self.isolated: set[int] = set()
        self.routes: dict[str, dict[str, Route]] = {HOST: {}, OURS: {}}
        self.switches: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.files: dict[tuple[str, str], str] = {}
        self.processes: dict[str, Process] = {}
        self.own_files: dict[tuple[str, str], str] = {}
        self.own_processes: dict[str, Process] = {}
        """Of the DHCP server in the agent's namespace."""
        self.nft = NftState()
        self.translations: dict[str, tuple[Translation, int]] = {}
        """Of routers' namespaces, with the generation of their rules."""
        self.kept: dict[str, frozenset[Kept]] = {}
        self.proxied: dict[str, frozenset[Proxy]] = {}
        self.indexes = itertools.count(1)
        self.numbers = itertools.count(DESCRIPTOR + 1)
        """Of descriptors and processes."""

    def write(self, call: str, *subjects: str) -> bool:
        """Ask for a write; return whether it has an effect.

        Raises:
            NetlinkError: it is refused.
        """
        outcome = self.faults.write(" ".join((call, *subjects)))
        if outcome is Outcome.REFUSED:
            raise NetlinkError(errno.EIO, f"{call} refused")
        return outcome is Outcome.DONE

    def by_index(self, index: int) -> tuple[str, Link] | None:
        """Return the namespace and the link with `index`."""
        found = ((place, link) for place, links in self.namespaces.items() for link in links.values())
        return next((pair for pair in found if pair[1].index == index), None)


class FakeLinks(Links):
    """The links of one namespace of a `FakeKernel`."""

    def __init__(self, kernel: FakeKernel, place: str) -> None:
        self._kernel = kernel
        self._place = place

    @property
    def _links(self) -> dict[str, Link]:
        return self._kernel.namespaces[self._place]

    def all(self) -> list[Link]:
        """See Links."""
        return list(self._links.values())

    def find(self, name: str) -> Link | None:
        """See Links. A tap is there as soon as anyone asks for it: every hypervisor is quick here."""
        if self._place == HOST and name.startswith("tap") and name not in self._links:
            self._links[name] = Link(next(self._kernel.indexes), name, "tun", "", "", 1500, 0, up=False)
        return self._links.get(name)

    def at(self, index: int) -> Link | None:
        """See Links."""
        return next((link for link in self._links.values() if link.index == index), None)

    def add_bridge(self, name: str, mac: str, mtu: int, settings: tuple[int, ...] = BRIDGE_SETTINGS) -> None:
        """See Links."""
        self._refuse_taken(self._place, name)
        if self._kernel.write("add bridge", name):
            index = next(self._kernel.indexes)
            self._links[name] = Link(index, name, "bridge", "", mac, mtu, 0, up=True, bridge=settings)

    def reset_bridge(self, name: str, settings: tuple[int, ...] = BRIDGE_SETTINGS) -> None:
        """See Links."""
        link = self._get(name)
        if self._kernel.write("reset bridge", name, link.alias):
            self._links[name] = replace(link, bridge=settings)

    def add_veth(
        self, name: str, *, master: int, mtu: int, peer: str, peer_mac: str, peer_netns: int, mac: str = ""
    ) -> None:
        """See Links."""
        far_place = self._kernel.descriptors[peer_netns]
        self._refuse_taken(self._place, name)
        self._refuse_taken(far_place, peer)
        if master and self.at(master) is None:
            raise NetlinkError(errno.ENODEV, "no such master")
        if self._kernel.write("add veth", name):
            near, far = next(self._kernel.indexes), next(self._kernel.indexes)
            self._links[name] = Link(near, name, "veth", "", mac, mtu, master, up=False)
            self._kernel.namespaces[far_place][peer] = Link(far, peer, "veth", "", peer_mac, mtu, 0, up=False)
            self._kernel.peers |= {near: far, far: near}

    def add_ifb(self, name: str, alias: str) -> None:
        """See Links."""
        self._refuse_taken(self._place, name)
        if self._kernel.write("add ifb", name):
            self._links[name] = Link(next(self._kernel.indexes), name, "ifb", "", "", 1500, 0, up=False)
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
        """See Links."""
        link = self._get(name)
        given = {"up": up, "alias": alias, "mac": mac, "mtu": mtu, "master": master, "promiscuous": promiscuous}
        if self._kernel.write("change", name, link.alias):
            self._links[name] = replace(link, **{word: value for word, value in given.items() if value is not None})  # type: ignore[arg-type]
            if up is False:
                self._forget_routes(link.index)

    def _forget_routes(self, index: int) -> None:
        """Let go of what led over a link, as the kernel does when it goes down."""
        for routes in self._kernel.routes.values():
            for cidr in [cidr for cidr, route in routes.items() if route.index == index]:
                del routes[cidr]

    def add_address(
        self,
        name: str,
        address: str,
        *,
        peer: str = "",  # noqa: ARG002
        scope: int = 0,  # noqa: ARG002
        prefix_route: bool = True,  # noqa: ARG002
    ) -> None:
        """See Links."""
        link = self._get(name)
        if self._kernel.write("add address", name, link.alias):
            self._kernel.addresses[link.index].add(address)

    def passes(self, name: str) -> bool:  # noqa: ARG002
        """See Links. Every link is quick here."""
        return True

    def isolate(self, name: str) -> None:
        """See Links."""
        link = self._get(name)
        if self._kernel.write("isolate", name, link.alias):
            self._kernel.isolated.add(link.index)

    def mute_ipv6(self, name: str) -> None:
        """See Links."""
        self._kernel.write("mute", name, self._get(name).alias)

    def remove(self, name: str) -> None:
        """See Links. The other end of a veth pair goes too, and what was in a bridge is let go."""
        link = self._links.get(name)
        if link is None or not self._kernel.write("remove", name, link.alias):
            return
        self.lose(name)

    def lose(self, name: str) -> None:
        """Remove a link as a stranger would."""
        link = self._links.pop(name)
        self._kernel.switches[self._place].pop(f"ipv6/conf/{name}/disable_ipv6", None)
        peer = self._kernel.by_index(self._kernel.peers.pop(link.index, 0))
        if peer is not None:
            place, end = peer
            del self._kernel.namespaces[place][end.name]
            del self._kernel.peers[end.index]
        for other in [other for other in self._links.values() if other.master == link.index]:
            self._links[other.name] = replace(other, master=0)
        for index in (link.index, peer[1].index if peer else 0):
            self._kernel.redirects.pop(index, None)
            self._kernel.shapes.pop(index, None)
            self._kernel.shares.pop(index, None)
            self._kernel.tagged.pop(index, None)
            for key in [key for key in self._kernel.untagged if key[0] == index]:
                del self._kernel.untagged[key]
            self._forget_routes(index)
            self._kernel.addresses.pop(index, None)

    def _get(self, name: str) -> Link:
        link = self.find(name)
        if link is None:
            raise NetlinkError(errno.ENODEV, f"no link {name}")
        return link

    def _refuse_taken(self, place: str, name: str) -> None:
        if name in self._kernel.namespaces[place]:
            raise NetlinkError(errno.EEXIST, f"link {name} exists")


class FakeShapers(Shapers):
    """The token bucket filters of a `FakeKernel`."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def all(self) -> dict[int, Shape]:
        """See Shapers."""
        return dict(self._kernel.shapes)

    def at(self, index: int) -> Shape | None:
        """See Shapers."""
        return self._kernel.shapes.get(index)

    def put(self, index: int, wanted: Shape) -> None:
        """See Shapers."""
        if self._kernel.write("shape", name_of(self._kernel, index)):
            self._kernel.shapes[index] = wanted

    def remove(self, index: int) -> None:
        """See Shapers."""
        if index in self._kernel.shapes and self._kernel.write("end shape", name_of(self._kernel, index)):
            del self._kernel.shapes[index]


class FakeShares(Shares):
    """The divided links of a `FakeKernel`."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def indexes(self) -> set[int]:
        """See Shares."""
        return {*self._kernel.shares}

    def at(self, index: int) -> Division | None:
        """See Shares."""
        return self._kernel.shares.get(index)

    def put(self, index: int, wanted: Division, queues: Sequence[int]) -> None:
        """See Shares."""
        assert len(queues) == len(wanted.classes)
        if self._kernel.write("share", name_of(self._kernel, index)):
            self._kernel.shares[index] = wanted

    def remove(self, index: int) -> None:
        """See Shares."""
        if index in self._kernel.shares and self._kernel.write("end share", name_of(self._kernel, index)):
            del self._kernel.shares[index]


class FakeNft(Nft):
    """Commands to the tables of a `FakeKernel`."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def run(self, commands: str) -> str:
        """See Nft."""
        outcome = self._kernel.faults.write("nft")
        if outcome is Outcome.REFUSED:
            raise NftError("Error: Could not process rule: refused")
        if outcome is Outcome.DONE:
            self._kernel.nft.run(commands)
        return ""

    def check(self, commands: str) -> None:
        """See Nft."""
        self._kernel.nft.outcome(commands)

    def tables(self, names: Iterable[tuple[str, str]]) -> dict[str, str]:
        """See Nft."""
        return _listings(self._kernel.nft, names)

    def tables_after(self, commands: str, names: Iterable[tuple[str, str]]) -> dict[str, str]:
        """See Nft."""
        scratch = NftState()
        scratch.run(commands)
        return _listings(scratch, names)

    def close(self) -> None:
        """See Nft."""


def name_of(kernel: FakeKernel, index: int) -> str:
    """Return name and alias of a link, for faults to be told by."""
    found = kernel.by_index(index)
    return f"{found[1].name} {found[1].alias}" if found else ""


def _listings(state: NftState, names: Iterable[tuple[str, str]]) -> dict[str, str]:
    found = ((name, state.tables.get(name)) for name in names)
    return {name[0]: listing(name[1], table) for name, table in found if table is not None}


class FakeNetfilter(netlink.Socket):
    """Answers one question: the generation of the tables of a `FakeKernel`."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def get(self, kind: int, body: bytes) -> bytes:
        """See Socket; for NFT_MSG_GETGEN only."""
        assert kind == 0x0A10
        return body + netlink.attr(1, self._kernel.nft.generation.to_bytes(4, "big"))


class FakeConntrack(Conntrack):
    """No connections: only the first packet of each is ever seen."""

    def __init__(self) -> None:
        pass

    def remove(self, judge: Judge) -> int:
        """See Conntrack; the judge is asked about one connection, so that it is at work too."""
        return int(judge.is_unwanted(Connection(1, bytes([192, 0, 2, 10]), bytes([192, 0, 2, 11]), 6, 40000, 80)))

    def clear_zone(self, zone: int) -> None:
        """See Conntrack."""

    def forget_datagrams(self, ports: tuple[int, int]) -> None:
        """See Conntrack."""

    def forget_floating(self, addresses: Collection[bytes]) -> None:
        """See Conntrack."""

    def forget_mistranslated(self, now: Translated) -> None:
        """See Conntrack."""


def tables(kernel: FakeKernel, family: str = "bridge") -> Table:
    """Return the table that filters what goes over bridges, or with "inet" is routed; an empty one if there is none."""
    return kernel.nft.tables.get((family, "portico"), Table())
