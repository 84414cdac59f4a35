# SPDX-License-Identifier: Apache-2.0
"""The bridge backend on hosts with fake kernels; host states, the agent's loop and its drivers are the real ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import replace

from portico.agent import dnsmasq, owner
from portico.agent.drivers.dhcp import DhcpDriver
from portico.agent.drivers.limit import LimitDriver
from portico.agent.drivers.link import BridgeDriver, CarrierDriver, LinkTable, PairDriver
from portico.agent.drivers.nft import FilterDriver
from portico.agent.drivers.route import RouteDriver, SpaceDriver
from portico.agent.drivers.routed_dhcp import RoutedDhcpDriver
from portico.agent.drivers.router import RouterDriver
from portico.agent.drivers.share import ShareDriver
from portico.agent.drivers.subport import SubportDriver
from portico.agent.drivers.tap import TapDriver
from portico.agent.loop import Loop
from portico.backends.bridge import BridgeBackend
from portico.broker.hosts import HostStates
from portico.contract import Backend, ObjectStatus
from portico.hoststate import ROUTED, Status, Update
from portico.testing import fakerouters, nft_eval
from portico.testing.fakejoins import FakeRedirects, FakeTags
from portico.testing.fakekernel import (
    DESCRIPTOR,
    HOST,
    OURS,
    FakeConntrack,
    FakeKernel,
    FakeLinks,
    FakeNetfilter,
    FakeNft,
    FakeShapers,
    FakeShares,
    Process,
    tables,
)
from portico.testing.fakerouters import FakeRouterSpaces
from portico.testing.fakeroutes import side
from portico.testing.fakeservers import FakeOwnServers, FakeServers, given
from portico.testing.faults import Faults
from portico.testing.nft_state import Container, Key, Table
from portico.testing.world import HOSTS, object_id
from portico.trace.packet import Packet

STATES = {"active": "ACTIVE", "waiting": "DOWN", "error": "ERROR"}
PATIENCE_S = 20.0
"""For how long, on its own clock, an agent may retry before it is taken to have come to rest."""


class FakeHost:
    """One host: a kernel that stays, and an agent that may be killed."""

    def __init__(self, faults: Faults, report: Callable[[int, Collection[Status]], None]) -> None:
        self.kernel = FakeKernel(faults)
        self._report = report
        self._now_s = 0.0
        self._end_following: Callable[[], None] = lambda: None
        self._updates: list[Update] = []
        self.loop: Loop

    def start(self, hosts: HostStates, name: str) -> None:
        """Start an agent anew, as after SIGKILL, following `hosts`."""
        self._end_following()
        self._updates.clear()
        ours, host = FakeLinks(self.kernel, OURS), FakeLinks(self.kernel, HOST)
        table, conntrack = LinkTable(ours), FakeConntrack()
        bridges = BridgeDriver(table, conntrack)
        here, there = (side(self.kernel, place) for place in (OURS, HOST))
        self.loop = Loop(
            [
                bridges,
                SpaceDriver(table, here, there, DESCRIPTOR, OURS),
                PairDriver(table, host, DESCRIPTOR, OURS),
                LimitDriver(table, FakeShapers(self.kernel), FakeRedirects(self.kernel)),
                FilterDriver(FakeNft(self.kernel), FakeNetfilter(self.kernel), conntrack),
                CarrierDriver(table),
                RouterDriver(table, FakeRouterSpaces(self.kernel)),
                ShareDriver(table, FakeShares(self.kernel), FakeRedirects(self.kernel)),
                RouteDriver(table, here, there, OURS),
                DhcpDriver(table, FakeServers(self.kernel)),
                RoutedDhcpDriver(table, here, FakeOwnServers(self.kernel)),
                TapDriver(table, host, FakeRedirects(self.kernel), DESCRIPTOR, OURS),
                SubportDriver(table, host, FakeTags(self.kernel), OURS),
            ],
            clock=lambda: self._now_s,
            report=self._report,
        )
        self.loop.learn_zones({item.network_id: item.zone for item in bridges.read(None).values()})
        self._end_following = hosts.follow(name, self._updates.append)

    def settle(self) -> None:
        """Let the agent work until it has nothing to do, or nothing but retries that go on for ever."""
        for update in self._updates:
            self.loop.accept(update)
        self._updates.clear()
        until_s = self._now_s + PATIENCE_S
        self.loop.step()
        while (wait_s := self.loop.next_s()) is not None and self._now_s + wait_s < until_s:
            self._now_s += wait_s
            self.loop.step()

    def suspect(self) -> None:
        """Tell the agent, as the kernel's events would, that something is not as it left it."""
        self.loop.suspect()


class FakeHostsMedium:
    """Two hosts and what the broker holds for them."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._statuses: dict[str, ObjectStatus] = {}
        self.hosts = {name: FakeHost(self.faults, self._take_report) for name in HOSTS}
        self._states = HostStates()
        self._revision = 0

    def make(self) -> Backend:
        """See Medium."""
        self._states = HostStates()
        self._statuses.clear()
        for name, host in self.hosts.items():
            host.start(self._states, name)
        return self.backend(self._states)

    def backend(self, states: HostStates) -> Backend:
        """Return a new backend that puts what it wants into `states`."""
        return BridgeBackend(states)

    def settle(self) -> Mapping[str, ObjectStatus]:
        """See Medium."""
        self._revision += 1
        self._states.publish(self._revision)
        for host in self.hosts.values():
            host.settle()
        return dict(self._statuses)

    def peek(self) -> Mapping[str, object]:
        """See Medium."""
        return {f"{name}/{key}": item for name, host in self.hosts.items() for key, item in dump(host.kernel).items()}

    def delivers(self, packet: Packet) -> bool:
        """See Medium."""
        kernels = [host.kernel for host in self.hosts.values()]
        return any(delivers(kernel, packet) or fakerouters.delivers(kernel, packet) for kernel in kernels)

    def plant(self) -> Set[str]:
        """See Medium."""
        kernel = self.hosts[HOSTS[0]].kernel
        links = FakeLinks(kernel, HOST)
        links.add_bridge("docker0", "02:42:00:00:00:01", 1500)
        taken = f"pv{object_id('port', 1)[:11]}"  # the very name that a port of ours would have
        links.add_bridge(taken, "02:42:00:00:00:02", 1500)
        return {f"{HOSTS[0]}/{HOST}/docker0", f"{HOSTS[0]}/{HOST}/{taken}"}

    def corrupt(self, number: int) -> None:
        """See Medium."""
        hosts = [host for host in self.hosts.values() if host.kernel.namespaces[OURS]]
        host = hosts[number % len(hosts)]
        self.spoil(host.kernel, number // len(hosts))
        host.suspect()

    def spoil(self, kernel: FakeKernel, number: int) -> None:
        """Change one thing of the agent's on a host; `number` chooses what."""
        corrupt(kernel, number)

    def _take_report(self, _revision: int, statuses: Collection[Status]) -> None:
        for status in statuses:
            kind, _, port_id = status.key.partition("/")
            if kind != "vif":
                continue
            if status.state == "gone":
                self._statuses.pop(port_id, None)
            else:
                self._statuses[port_id] = ObjectStatus("port", port_id, STATES[status.state], status.reason)


def delivers(kernel: FakeKernel, packet: Packet) -> bool:
    """Return whether the bridges and rules of one host deliver a packet."""
    ours = kernel.namespaces[OURS]
    near, far = (ours.get(owner.port_link(port_id)) for port_id in (packet.sender, packet.receiver))
    if near is None or far is None or not (near.up and far.up) or not near.master or near.master != far.master:
        return False
    bridge = kernel.by_index(near.master)
    if bridge is None or not bridge[1].up:
        return False
    seen = nft_eval.Seen(near.name, far.name, packet)
    table = tables(kernel)
    return bool(table.chains) and nft_eval.passes(table, "prerouting", seen) and nft_eval.passes(table, "forward", seen)


def corrupt(kernel: FakeKernel, number: int) -> None:
    """Change one thing of the agent's: links go, come down, change; rules are emptied or opened; a server is ended."""
    links = FakeLinks(kernel, OURS)
    names = sorted(kernel.namespaces[OURS])
    name = names[number // 6 % len(names)]
    link = kernel.namespaces[OURS][name]
    match number % 6:
        case 0:
            links.lose(name)
        case 1:
            kernel.namespaces[OURS][name] = replace(link, up=not link.up)
        case 2:
            kernel.namespaces[OURS][name] = replace(link, mtu=link.mtu - 1)
        case 3:
            kernel.nft.tables.pop(("bridge", "portico"), None)
            kernel.nft.generation += 1
        case 4:
            for chain in tables(kernel).chains.values():
                chain.rows = ["accept"]
            kernel.nft.generation += 1
        case 5:
            for short in sorted(kernel.processes)[:1]:
                del kernel.processes[short]


def dump(kernel: FakeKernel) -> dict[str, object]:
    """Return what a host has, without what depends on history: indexes are names, zones are networks.

    Without links there is nothing to filter; an agent that starts with nothing wanted leaves older rules as they are.
    """
    ours = kernel.namespaces[OURS].values()
    marks = [words for link in ours if link.kind == "bridge" and len(words := owner.words(link.alias)) == 2]
    zones = {int(number): network_id for network_id, number in marks}
    found: dict[str, object] = {}
    for place, links in kernel.namespaces.items():
        for link in links.values():
            if link.kind == "tun" and link.index not in kernel.redirects:
                continue  # a tap that nobody uses is its hypervisor's business
            master, target = (kernel.by_index(index) for index in (link.master, kernel.redirects.get(link.index, 0)))
            words = link.alias.split()[:2] if link.name == "lo" else link.alias.split()  # a router's tells a generation
            alias = " ".join(zones.get(int(word), word) if word.isdecimal() else word for word in words)
            up = link.up and (place != HOST or target is not None)  # else it is up to the consumer
            mtu = link.mtu if link.kind != "ifb" else 0  # what waits there is as large as it came
            plain = replace(link, index=0, master=0, alias=alias, up=up, mtu=mtu)
            addresses = frozenset(kernel.addresses.get(link.index, ()))
            joins = (master and master[1].name, target and target[1].name, addresses)
            waits = (kernel.shapes.get(link.index), kernel.shares.get(link.index))
            found[f"{place}/{link.name}"] = (plain, *joins, *waits, _tags(kernel, link.index))
    if kernel.namespaces[OURS]:
        for (family, _), table in kernel.nft.tables.items():
            found[f"nft/{family}"] = _dump_table(table, zones)
    found |= fakerouters.dump(kernel)
    for short in FakeServers(kernel).known():
        found[f"dhcp/{short}"] = _dump_server(FakeServers(kernel), kernel.files, kernel.processes.get(short), short)
    if kernel.own_files:
        own = kernel.own_processes.get(ROUTED)
        found[f"dhcp/{ROUTED}"] = _dump_server(FakeOwnServers(kernel), kernel.own_files, own, ROUTED)
    return found


def _tags(kernel: FakeKernel, index: int) -> frozenset[tuple[int, str]]:
    """Return the VLANs whose tags a link's frames get or lose, each with the name of the link where those go."""
    ways = [
        kernel.tagged.get(index, (0, 0)),
        *((vlan, to) for (at, vlan), to in kernel.untagged.items() if at == index),
    ]
    return frozenset((vlan, found[1].name) for vlan, to in ways if (found := kernel.by_index(to)) is not None)


def _dump_server(
    servers: FakeServers, all_files: Mapping[tuple[str, str], str], process: Process | None, short: str
) -> object:
    """Return files and process of a server; who once leased an address that nobody has now depends on history."""
    files = {name: text for (whose, name), text in all_files.items() if whose == short and name != dnsmasq.LEASES}
    is_found = servers.find(short) is not None
    return files, process and (is_found, process.config, process.texts, given(process))


def _dump_table(table: Table, zones: Mapping[int, str]) -> object:
    chains = {name: tuple(chain.rows) for name, chain in table.chains.items()}
    return chains, {name: _dump_container(container, zones) for name, container in table.containers.items()}


def _dump_container(container: Container, zones: Mapping[int, str]) -> frozenset[tuple[Key, str]]:
    def named(parts: Iterable[object]) -> Key:
        return tuple(zones.get(part, part) if isinstance(part, int) else part for part in parts)  # type: ignore[misc]

    def value(text: str) -> str:
        number = int(text, 0) if text.startswith("0x") or text.isdecimal() else None
        return text if number is None else f"{zones.get(number & 0xFFFF, number)} {number >> 16}"

    return frozenset((named(key), value(text)) for key, text in {**container.single, **container.ranges}.items())
