# SPDX-License-Identifier: Apache-2.0
"""The agent at work on a host: opens the namespaces, builds the drivers, waits for Updates and news from the kernel."""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.agent import kernel, links, netlink, packages, packet_log, redirect
from portico.agent.delta import Driver
from portico.agent.docker_user import DockerUser
from portico.agent.drivers.advertise import AdvertDriver
from portico.agent.drivers.bgp import SpeakerDriver
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.drivers.dhcp import DhcpDriver
from portico.agent.drivers.fast_path import FastPath, FastPathDriver, ports, ways
from portico.agent.drivers.libnftables import Nft
from portico.agent.drivers.limit import LimitDriver
from portico.agent.drivers.link import BridgeDriver, CarrierDriver, LinkTable, PairDriver
from portico.agent.drivers.nft import FilterDriver, generation_events
from portico.agent.drivers.outlet import OutletDriver
from portico.agent.drivers.publish import HostRulesDriver
from portico.agent.drivers.related import RelatedDriver
from portico.agent.drivers.route import RouteDriver, Side, SpaceDriver
from portico.agent.drivers.routed_dhcp import RoutedDhcpDriver
from portico.agent.drivers.router import RouterDriver
from portico.agent.drivers.segment import SegmentDriver
from portico.agent.drivers.share import ShareDriver
from portico.agent.drivers.subport import SubportDriver
from portico.agent.drivers.sysctls import SysctlDriver
from portico.agent.drivers.tap import TapDriver
from portico.agent.drivers.uplink import UplinkDriver
from portico.agent.drivers.watch import WatchDriver
from portico.agent.fast_path import hooks
from portico.agent.fast_path.programs import Programs
from portico.agent.host_ports import HostPorts
from portico.agent.learnt import LearntRoutes
from portico.agent.link_news import LinkNews
from portico.agent.loop import Loop
from portico.agent.meters import Meters
from portico.agent.notice import notice_host, notice_links, notice_rules
from portico.agent.open_vswitch import OpenVswitch
from portico.agent.packet_log import Bounds, PacketLog, Pages
from portico.agent.policies import Pace
from portico.agent.redirect import Redirects
from portico.agent.removal import Removal
from portico.agent.router_space import RouterSpaces
from portico.agent.routes import Routes
from portico.agent.servers import OwnServers, RouterServers, Servers
from portico.agent.shaper import Shapers
from portico.agent.shares import Shares
from portico.agent.speaker import Bird, folder
from portico.agent.switches import Switches
from portico.agent.tagging import Tags
from portico.agent.watchers import Watchers
from portico.errors import Unavailable
from portico.hoststate import Count, HostObject, Status, Update

log = logging.getLogger(__name__)

AGAIN_S = 1.0
HOST_RULES_WAIT_S = 0.5
"""How long others may go on changing the host's rules before ours are looked at: engines change many in a row."""
FINISH_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the agent works: its network namespace by name, and its folders. The host's namespace is the caller's.

    `physical_networks` are interfaces of the host by name; `full_interval_s` and `linger_s` are those of `Loop`. With
    `fast_path` established connections take the short way where the kernel can. `logged` bounds what is written down.
    """

    netns: str
    state_dir: Path
    run_dir: Path
    full_interval_s: float = 30.0
    linger_s: float = 10.0
    physical_networks: Mapping[str, str] = field(default_factory=dict)
    fast_path: bool = True
    logged: Bounds = field(default_factory=Bounds)


@contextmanager
def only_agent(place: Place) -> Iterator[None]:
    """Hold the right to change the data plane of `place`; the kernel gives it up with the process.

    Raises:
        Unavailable: another process has it.
    """
    place.run_dir.mkdir(parents=True, exist_ok=True)
    path = place.run_dir / f"agent-{place.netns}.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(f"agent {place.netns}: another one runs on this host (it holds {path})") from error
        yield


class Runtime:
    """Runs the loop in a thread of its own, which lives in the agent's namespace.

    Args:
        place: where to work.
        report: called from that thread with statuses that changed and the revision they take into account.
    """

    def __init__(self, place: Place, report: Callable[[int, Collection[Status]], None]) -> None:
        self._place = place
        self._report = report
        self._tasks: queue.SimpleQueue[Callable[[Loop], None] | None] = queue.SimpleQueue()
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="loop")
        self._loop: Loop | None = None
        self._fast_path: FastPath | None = None
        self._meters = Meters(place.netns)
        self._packet_log: PacketLog | None = None
        self._pace: Pace | None = None
        self.lacks_logging = ""

    def start(self) -> None:
        """Open the namespaces and start. Called in a thread of the host's namespace."""
        self._host_netns = kernel.open_current()
        self._netns = kernel.ensure_named(self._place.netns)
        self.lacks_logging = packet_log.lack()
        if not self.lacks_logging:
            bounds, path = self._place.logged, packet_log.path_of(self._place.state_dir, self._place.netns)
            self._packet_log = PacketLog(self._netns, Pages(path, bounds.file_bytes, bounds.files), self.wanted)
            self._packet_log.start()
            self._pace = bounds.pace
        self._thread.start()

    def stop(self) -> None:
        """Stop, leaving everything in the kernel as it is."""
        self._submit(None)
        self._thread.join()
        if self._packet_log:
            self._packet_log.stop()

    def offer(self, update: Update) -> None:
        """Hand an Update over; from any thread."""
        self._submit(lambda loop: loop.accept(update))

    def resend(self) -> None:
        """Have every status reported again; from any thread."""
        self._submit(lambda loop: loop.resend())

    def alive(self) -> bool:
        """Return whether the loop runs."""
        return self._thread.is_alive()

    def wanted(self) -> list[HostObject]:
        """Return what the host must have; from any thread."""
        return list(self._loop.wanted.objects.values()) if self._loop else []

    def counts(self) -> dict[str, int]:
        """Return how many objects of each kind are wanted; from any thread."""
        keys = list(self._loop.wanted.objects) if self._loop else []
        return dict(Counter(key.partition("/")[0] for key in keys))

    def troubles(self, *kinds: str) -> list[str]:
        """Return why objects of some kinds are not as wanted; from any thread."""
        return self._loop.troubles(*kinds) if self._loop else []

    def fast_path(self) -> str:
        """Return how things stand with the fast path; from any thread."""
        return self._fast_path.state() if self._fast_path else ""

    def measures(self) -> dict[str, float]:
        """Return what the loop tells of its work; from any thread."""
        return self._loop.measures() if self._loop else {}

    def metered(self) -> tuple[Count, ...]:
        """Return what routers have counted; from any thread of the host's namespace."""
        return self._meters.take(self._loop.wanted.objects if self._loop else {}, self._host_netns)

    def _submit(self, task: Callable[[Loop], None] | None) -> None:
        self._tasks.put(task)
        os.write(self._wake, b"\0")

    def _run(self) -> None:
        try:
            host_route = netlink.Socket(netlink.ROUTE)
            news = LinkNews()
            host = Side(links.Links(host_route), Routes(netlink.Socket(netlink.ROUTE)), Switches(self._host_netns))
            speaker, published = self._speaker(), self._published()
            kernel.enter(self._netns)
            self._work(host_route, news, host, speaker, published)
        except Exception:
            log.exception("the loop has ended")
            raise

    def _speaker(self) -> SpeakerDriver:
        """Return the driver of the speaker; called in a thread of the host's namespace."""
        learnt = LearntRoutes(netlink.Socket(netlink.ROUTE))
        place = self._place
        files, netns = folder(place.run_dir, place.netns), Path(f"/proc/self/fd/{self._host_netns}")
        return SpeakerDriver(Bird(files, netns, run_dir=place.run_dir, learnt=learnt))

    def _published(self) -> HostRulesDriver:
        """Return the driver of the rules in the host's namespace; called in a thread of it."""
        return HostRulesDriver(
            self._place.netns,
            Nft(),
            DockerUser(self._host_netns, self._place.netns),
            HostPorts(self._host_netns),
            Conntrack(netlink.Socket(netlink.NETFILTER)),
            generation_events(),
        )

    def _work(
        self,
        host_route: netlink.Socket,
        news: LinkNews,
        host: Side,
        speaker: SpeakerDriver,
        published: HostRulesDriver,
    ) -> None:
        own_events = netlink.Socket(netlink.ROUTE, [links.GROUP_LINK, redirect.GROUP])
        rule_events, netfilter = generation_events(), netlink.Socket(netlink.NETFILTER)
        removal = Removal(links.Links(netlink.Socket(netlink.ROUTE)))
        table = LinkTable(links.Links(netlink.Socket(netlink.ROUTE)), removal)
        ours = Side(table.kernel, Routes(netlink.Socket(netlink.ROUTE)), Switches())
        conntrack, route = Conntrack(netfilter), netlink.Socket(netlink.ROUTE)
        shapers, fast_path = Shapers(route), self._make_fast_path(table, route)
        bridges, filters = BridgeDriver(table, conntrack), FilterDriver(Nft(), netfilter, conntrack, self._pace)
        netns, folders = self._place.netns, {"run_dir": self._place.run_dir, "state_dir": self._place.state_dir}
        servers = DhcpDriver(table, Servers(netns, **folders))
        routed_servers = RoutedDhcpDriver(table, ours, OwnServers(netns, **folders))
        adverts, watches = self._beside_routers()
        taps, subports, segments = self._joins(table, host, host_route)
        drivers: list[Driver] = [
            *(SysctlDriver(), RelatedDriver(), bridges),
            SpaceDriver(table, ours, host, self._host_netns, self._place.netns),
            PairDriver(table, host.links, self._host_netns, self._place.netns),
            *(LimitDriver(table, shapers, Redirects(route)), FastPathDriver(fast_path, ports), filters),
            CarrierDriver(table),
            UplinkDriver(table, host, self._host_netns, self._place.netns),
            published,
            segments,
            RouterDriver(table, RouterSpaces(netns, self._netns), self._meters.keep),
            ShareDriver(table, Shares(route), Redirects(route)),
            FastPathDriver(fast_path, ways),
            adverts,
            watches,
            RouteDriver(table, ours, host, self._place.netns),
            servers,
            routed_servers,
            taps,
            subports,
            OutletDriver(host.links, self._host_netns, self._place.netns, OpenVswitch(self._place.netns)),
            *packages.drivers(),
            speaker,
        ]
        loop = self._loop = self._make_loop(drivers, fast_path)
        loop.learn_zones({item.network_id: item.zone for item in bridges.read(None).values()})
        fast_path.clear()
        ending = (servers, routed_servers, adverts, watches, speaker)
        poll = _listening(own_events, rule_events, news.events, *ending, published, self._woken)

        def notice() -> None:
            notice_links(loop, table, shapers, fast_path, own_events)
            notice_rules(loop, filters, rule_events)
            notice_host(loop, taps, subports, segments, news)
            loop.suspect(key for one in ending for key in one.ended())
            loop.suspect(published.changed(), delay_s=HOST_RULES_WAIT_S)

        self._follow(loop, poll, notice, fast_path)
        removal.finish(FINISH_WITHIN_S)

    def _beside_routers(self) -> tuple[AdvertDriver, WatchDriver]:
        """Return the drivers of what runs in routers' namespaces."""
        netns, run_dir = self._place.netns, self._place.run_dir
        return AdvertDriver(RouterServers(netns, run_dir=run_dir)), WatchDriver(Watchers(netns, run_dir=run_dir))

    def _joins(
        self, table: LinkTable, host: Side, host_route: netlink.Socket
    ) -> tuple[TapDriver, SubportDriver, SegmentDriver]:
        """Return the drivers of what is joined to links of the host."""
        netns, tags = self._place.netns, Tags(host_route)
        return (
            TapDriver(table, host.links, Redirects(host_route), self._host_netns, netns),
            SubportDriver(table, host.links, tags, netns),
            SegmentDriver(table, host, tags, self._host_netns, netns, self._place.physical_networks),
        )

    def _make_fast_path(self, table: LinkTable, route: netlink.Socket) -> FastPath:
        """Return the fast path, which may be none."""
        programs, why = None, "switched off (agent.fast_path)"
        if self._place.fast_path:
            try:
                programs = Programs()
            except OSError as error:
                why = error.strerror or str(error)
                log.warning("no fast path: %s", why)
        self._fast_path = FastPath(table, hooks.Hooks(route), programs, why)
        return self._fast_path

    def _make_loop(self, drivers: Sequence[Driver], fast_path: FastPath) -> Loop:
        return Loop(
            drivers,
            clock=time.monotonic,
            report=self._report,
            full_interval_s=self._place.full_interval_s,
            linger_s=self._place.linger_s,
            changed=fast_path.void,
        )

    def _follow(self, loop: Loop, poll: select.poll, notice: Callable[[], None], fast_path: FastPath) -> None:
        """Let the loop work until asked to stop: on what is wanted, on what `notice` finds, and when it is time."""
        while True:
            wait_s = loop.next_s()
            poll.poll(None if wait_s is None else wait_s * 1000)
            if not self._take_tasks(loop):
                return
            notice()
            try:
                loop.step()
                if loop.has_compared:
                    fast_path.begin()
            except OSError:
                log.exception("a pass has failed; everything is looked at again in %.0f s", AGAIN_S)
                loop.suspect(delay_s=AGAIN_S)

    def _take_tasks(self, loop: Loop) -> bool:
        """Do what other threads have asked for; False when asked to stop."""
        try:
            os.read(self._woken, 4096)
        except BlockingIOError:
            return True
        while True:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                return True
            if task is None:
                return False
            task(loop)


def _listening(*sources: Any) -> select.poll:
    """Return what waits for news from any of `sources`."""
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN)
    return poll
