# SPDX-License-Identifier: Apache-2.0
"""The conformance suite of the agent's drivers, on any kernel: a fake one, or that of a lab host.

class TestDriversSomewhere(DriverSuite):
    def site(self) -> Site:
        return Site(...)

Docs: docs/design/backends.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from portico.agent import netlink, owner
from portico.agent.delta import Delta, Driver, Forgotten, Trouble, Wanted, difference
from portico.agent.drivers.bgp import SpeakerDriver
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.drivers.dhcp import DhcpDriver
from portico.agent.drivers.libnftables import Nft
from portico.agent.drivers.limit import LimitDriver
from portico.agent.drivers.link import BridgeDriver, CarrierDriver, LinkTable, PairDriver
from portico.agent.drivers.nft import FilterDriver
from portico.agent.drivers.subport import SubportDriver
from portico.agent.drivers.tap import TapDriver
from portico.agent.links import Links
from portico.agent.redirect import Redirects
from portico.agent.servers import Servers
from portico.agent.shaper import Shapers
from portico.agent.speaker import Bird
from portico.agent.tagging import Tags
from portico.backends.bridge import plan
from portico.hoststate import Bridge, Dhcp, HostObject, Limit, Peer, Qos, Speaker, Vif, key_of
from portico.hoststate.speaker import SPEAKER_KEY
from portico.testing.backend_suite import example_world
from portico.testing.faults import Crash, Faults
from portico.testing.world import HOSTS, PutPort

ORDER = ("bridges", "pairs", "limits", "filters", "carriers", "servers", "taps", "subports", "speakers")
each_driver = pytest.mark.parametrize("position", range(len(ORDER)), ids=ORDER)


@dataclass(frozen=True, slots=True)
class Site:
    """A kernel to work on. `ours` and `host` are the links of the two namespaces, `host_netns` describes the latter.

    The taps of `tap_names` are there, as hypervisors make them; `redirects` and `tags` are the host's namespace's,
    `shapers` and `own_redirects` are ours. `call` runs what touches the kernel, in whatever thread that has to be.
    """

    ours: Links
    host: Links
    host_netns: int
    redirects: Redirects
    own_redirects: Redirects
    shapers: Shapers
    tags: Tags
    nft: Nft
    netfilter: netlink.Socket
    conntrack: Conntrack
    servers: Servers
    bird: Bird
    faults: Faults
    call: Callable[[Callable[[], Any]], Any]


class Stack:
    """Drivers without memory on a site, in the agent's order, and a wanted state."""

    def __init__(self, site: Site) -> None:
        table = LinkTable(site.ours)
        self.site = site
        self.wanted = Wanted()
        self.drivers: tuple[Driver, ...] = (
            BridgeDriver(table, site.conntrack),
            PairDriver(table, site.host, site.host_netns, "portico"),
            LimitDriver(table, site.shapers, site.own_redirects),
            FilterDriver(site.nft, site.netfilter, site.conntrack),
            CarrierDriver(table),
            DhcpDriver(table, site.servers),
            TapDriver(table, site.host, site.redirects, site.host_netns, "portico"),
            SubportDriver(table, site.host, site.tags, "portico"),
            SpeakerDriver(site.bird),
        )

    def want(self, objects: list[HostObject]) -> None:
        """Want exactly `objects`."""
        self.wanted.change(objects, (), whole=True)

    def items(self, position: int) -> dict[str, Any]:
        """Return what one driver is to make of what is wanted."""
        items, troubles = self.drivers[position].plan(self.wanted, self.wanted.objects.keys())
        assert troubles == {}
        return items

    def read(self, position: int) -> dict[str, Any]:
        """Read everything, through all drivers up to this one as the loop does."""
        found: dict[str, Any] = {}
        for driver in self.drivers[: position + 1]:
            found = self.site.call(partial(driver.read, None))
        return found

    def delta(self, position: int) -> Delta:
        """Return what one driver has to change."""
        actual, items = self.read(position), self.items(position)
        return difference(items, actual, {*items, *actual})

    def apply(self, position: int, delta: Delta) -> dict[str, Trouble]:
        """Let one driver change the kernel."""
        troubles: dict[str, Trouble] = self.site.call(lambda: self.drivers[position].apply(delta))
        return troubles

    def sweep(self, last: int) -> None:
        """Let the drivers up to `last` remove what is not wanted, in reverse; a driver may leave that to one before."""
        for position in reversed(range(last + 1)):
            delta = self.delta(position)
            assert self.apply(position, Delta(gone=delta.gone, before=delta.before)) == {}

    def converge(self, last: int) -> None:
        """Let all drivers up to `last` make what is wanted."""
        for position in range(last + 1):
            assert self.apply(position, self.delta(position)) == {}


def objects() -> list[HostObject]:
    """Return a host's wanted state: bridges, guarded and other ports with limits, groups, members, DHCP, BGP."""
    l2 = plan.host_objects(example_world(PutPort(5, 1, groups=(0,), plug="tap")).snapshot(), HOSTS[0])
    qos = Qos(Limit(10_000), Limit(20_000, 500), Limit(3000), Limit(4000, 40), dscp=10)
    l2 = [replace(item, qos=qos) if isinstance(item, Vif) else item for item in l2]
    trunk, *others = sorted((item for item in l2 if isinstance(item, Vif)), key=lambda vif: vif.plug != "tap")
    l2[l2.index(others[-1])] = replace(others[-1], plug="tap", tap_name=trunk.tap_name, vlan=7)
    return [*l2, Speaker(65000, "192.0.2.1", ("192.0.2.1",)), Peer("192.0.2.2", 65000)]


def tap_names() -> list[str]:
    """Return the names of the taps that `objects()` wants joined."""
    return [item.tap_name for item in objects() if isinstance(item, Vif) and item.plug == "tap" and not item.vlan]


class DriverSuite:
    """What every driver must keep. Each test has a site of its own."""

    def site(self) -> Site:
        """Return a site with nothing on it."""
        raise NotImplementedError

    def stack(self) -> Stack:
        """Return a stack that wants `objects()` of an empty site."""
        stack = Stack(self.site())
        stack.want(objects())
        return stack

    @each_driver
    def test_apply_makes_what_is_planned(self, position: int) -> None:
        stack = self.stack()
        stack.converge(position)
        assert stack.items(position)
        assert stack.read(position) == stack.items(position)

    @each_driver
    def test_a_second_pass_has_nothing_to_do(self, position: int) -> None:
        stack = self.stack()
        stack.converge(position)
        assert not stack.delta(position)

    @each_driver
    def test_some_keys_read_as_everything_does(self, position: int) -> None:
        stack = self.stack()
        stack.converge(position)
        keys = sorted(stack.items(position))[:2]
        some = stack.site.call(lambda: stack.drivers[position].read(keys))
        assert some == {key: item for key, item in stack.read(position).items() if key in keys}

    @each_driver
    def test_what_a_stranger_spoiled_is_all_that_is_mended(self, position: int) -> None:
        stack = self.stack()
        stack.converge(position)
        before = stack.items(position)
        spoiled = spoil(stack, position)
        delta = stack.delta(position)
        assert set(delta.put) == (set(before) if spoiled is None else {spoiled})
        assert not delta.gone
        assert stack.apply(position, delta) == {}
        assert stack.read(position) == before

    def test_changed_rules_are_noticed_before_a_part_is_read(self) -> None:
        position = ORDER.index("filters")
        stack = self.stack()
        stack.converge(position)
        spoil(stack, position)
        with pytest.raises(Forgotten):
            stack.site.call(lambda: stack.drivers[position].read(["group/x"]))

    @each_driver
    def test_removing_twice_is_no_trouble(self, position: int) -> None:
        stack = self.stack()
        stack.converge(position)
        actual = stack.read(position)
        delta = Delta(gone=tuple(actual), before=actual)
        assert stack.apply(position, delta) == {}
        assert stack.read(position) == {}
        assert stack.apply(position, delta) == {}

    @each_driver
    def test_new_drivers_find_what_is_there_and_sweep_the_rest(self, position: int) -> None:
        stack = self.stack()
        stack.converge(position)
        again = Stack(stack.site)
        again.wanted.learn(stack.wanted.zones)
        kind = {"servers": Dhcp, "speakers": Speaker}.get(ORDER[position], Vif)
        made, able = stack.read(position), [item for item in objects() if isinstance(item, kind)]
        left_out = next((item for item in able if key_of(item) in made), able[0])
        again.want([item for item in objects() if item != left_out])
        again.sweep(position)
        again.converge(position)
        assert key_of(left_out) not in again.read(position)
        assert again.read(position) == again.items(position)

    @each_driver
    def test_other_links_are_left_alone(self, position: int) -> None:
        stack = self.stack()
        stack.site.call(lambda: stack.site.host.add_bridge("docker0", "02:42:00:00:00:01", 1500))
        stack.converge(position)
        stack.want([])
        stack.sweep(position)
        assert stack.site.call(lambda: stack.site.host.find("docker0")) is not None


class DriverFaultSuite(DriverSuite):
    """For sites whose writes fail when told to."""

    @each_driver
    @pytest.mark.parametrize("deadly", [False, True], ids=["refused", "killed"])
    def test_a_fault_at_any_call_leaves_the_rest_and_is_mended(self, position: int, *, deadly: bool) -> None:
        number, struck = 0, True
        while struck:
            number += 1
            stack = self.stack()
            stack.converge(position - 1)
            delta = stack.delta(position)
            stack.site.faults.arm(number, deadly=deadly)
            troubles: dict[str, Trouble] = {}
            try:
                troubles = stack.apply(position, delta)
            except Crash:
                stack = Stack(stack.site)
                stack.want(objects())
            struck = stack.site.faults.disarm()
            if not deadly:
                found = stack.read(position)
                assert {key for key, item in delta.put.items() if found.get(key) != item} <= troubles.keys()
                assert len(troubles) <= 1 or position == ORDER.index("filters")
            assert stack.apply(position, stack.delta(position)) == {}
            assert stack.read(position) == stack.items(position)
        assert number > 1


def spoil(stack: Stack, position: int) -> str | None:
    """Change one thing of a driver's behind its back; return its key, or None for all of them."""
    site = stack.site
    bridge = next(item for item in objects() if isinstance(item, Bridge))
    vif = next(item for item in objects() if isinstance(item, Vif))
    link = owner.port_link(vif.port_id)
    match ORDER[position]:
        case "bridges":
            site.call(lambda: site.ours.change(owner.bridge_name(bridge.network_id), mtu=bridge.mtu - 100))
            return key_of(bridge)
        case "pairs":
            site.call(lambda: site.ours.remove(link))
            return key_of(vif)
        case "limits" | "taps" | "subports":
            return _spoil_join(site, ORDER[position])
        case "servers":
            server = next(item for item in objects() if isinstance(item, Dhcp))
            site.call(lambda: site.servers.end(owner.short(server.network_id)))
            return key_of(server)
        case "speakers":
            site.call(site.bird.end)
            return SPEAKER_KEY
        case "filters":
            site.call(lambda: site.nft.run("delete table bridge portico\n"))
            return None
        case _:
            site.call(lambda: site.ours.change(link, up=False))
            return key_of(vif)


def _spoil_join(site: Site, driver: str) -> str:
    """Take away one of the filters that a driver's joins are made of."""
    vifs = [item for item in objects() if isinstance(item, Vif)]
    fits: dict[str, Callable[[Vif], bool]] = {
        "limits": lambda vif: vif.qos is not None,
        "taps": lambda vif: vif.plug == "tap" and not vif.vlan,
        "subports": lambda vif: vif.vlan > 0,
    }
    vif = next(vif for vif in vifs if fits[driver](vif))

    def part() -> None:
        links, name = (site.ours, owner.port_link(vif.port_id)) if driver == "limits" else (site.host, vif.tap_name)
        link = links.find(name)
        assert link is not None
        if driver == "subports":
            site.tags.end_untag(link.index, vif.vlan)
        else:
            (site.own_redirects if driver == "limits" else site.redirects).remove(link.index)

    site.call(part)
    return key_of(vif)
