# SPDX-License-Identifier: Apache-2.0
"""Uplinks and published ports on a kernel that fails when told to, under the agent's own loop."""

from __future__ import annotations

import copy

import pytest

from portico.agent import host_rules, owner
from portico.agent.delta import Driver
from portico.agent.drivers.link import BridgeDriver, LinkTable
from portico.agent.links import BRIDGE_SETTINGS, UNTRACKED_SETTINGS
from portico.agent.loop import Loop
from portico.hoststate import Bridge, HostObject, Publish, Status, Target, Update, Uplink, Vif, key_of
from portico.testing.fakehost import FakeHost
from portico.testing.fakekernel import HOST, OURS, FakeConntrack, FakeKernel, FakeLinks
from portico.testing.faults import Crash, Faults

NET = "aaaaaaaa-0000-4000-8000-000000000001"
UPLINK = Uplink(NET, 1450, ("100.64.0.1/24", "fd00::1/64"), ("100.64.0.0/24",))
WEB = Publish("bbbbbbbb-1", NET, "tcp", ("0.0.0.0",), (80, 80), (Target("100.64.0.5", (80, 80)),))
NAMES = Publish("bbbbbbbb-2", NET, "udp", ("127.0.0.1",), (53, 53), (Target("100.64.0.5", (5353, 5353)),))
ALL = (Bridge(NET, 1450), UPLINK, WEB, NAMES)


class Site:
    """A host in memory and the agent's loop on it."""

    def __init__(self) -> None:
        self.kernel = FakeKernel(Faults())
        self.host = FakeHost(self.kernel)
        self.now_s = 0.0
        self.statuses: dict[str, Status] = {}
        self.start()

    def start(self) -> None:
        """Start an agent without memory."""
        table = LinkTable(FakeLinks(self.kernel, OURS))
        drivers: list[Driver] = [BridgeDriver(table, FakeConntrack()), *self.host.drivers(table)]
        self.loop = Loop(drivers, clock=lambda: self.now_s, report=self._report)

    def _report(self, _revision: int, statuses: object) -> None:
        self.statuses |= {status.key: status for status in statuses}  # type: ignore[attr-defined]

    def want(self, *items: HostObject, unknown: tuple[str, ...] = ()) -> None:
        """Want exactly these, and let the agent work until nothing is left to be tried again soon."""
        self.loop.accept(Update(1, items, complete=True, unknown=unknown))
        self.settle()

    def settle(self) -> None:
        until_s = self.now_s + 5.0
        self.loop.step()
        while (wait_s := self.loop.next_s()) is not None and self.now_s + wait_s < until_s:
            self.now_s += wait_s
            self.loop.step()

    def state(self) -> tuple[object, ...]:
        """Return all that a person could see, without indexes."""
        far = self.kernel.namespaces[HOST].get(owner.uplink_host_link(NET))
        near = self.kernel.namespaces[OURS].get(owner.uplink_link(NET))
        return (
            (near.up, near.alias, bool(near.master), near.mtu) if near else None,
            (far.up, far.alias, far.mac, far.mtu, sorted(self.kernel.addresses[far.index])) if far else None,
            copy.deepcopy(self.host.nft.tables),
            copy.deepcopy(self.host.chain),
        )

    def states(self) -> dict[str, str]:
        return {key: status.state for key, status in self.statuses.items()}


@pytest.mark.parametrize("deadly", [False, True], ids=["refused", "killed"])
def test_a_fault_at_any_write_is_mended(*, deadly: bool) -> None:
    whole = Site()
    whole.want(*ALL)
    assert set(whole.states().values()) == {"active"} and len(whole.states()) == len(ALL)
    number, struck = 0, True
    while struck:
        number += 1
        site = Site()
        site.kernel.faults.arm(number, deadly=deadly)
        try:
            site.want(*ALL)
        except Crash:
            site.start()
            site.want(*ALL)
        struck = site.kernel.faults.disarm()
        assert site.state() == whole.state()
        assert site.states() == whole.states()
    assert number > 10


def test_a_second_pass_and_a_new_agent_change_nothing_but_the_table_at_most() -> None:
    site = Site()
    site.want(*ALL)
    before, writes = site.state(), site.kernel.faults.writes
    site.loop.suspect()
    site.settle()
    assert (site.state(), site.kernel.faults.writes) == (before, writes)
    site.start()
    site.want(*ALL)
    assert site.state() == before
    site.start()
    site.want(ALL[0], UPLINK, NAMES, unknown=("bridge",))
    [table] = site.host.nft.tables.values()
    assert any(WEB.key in row for row in table.chains["published"].rows), "what may still be wanted stays"
    site.want()
    assert site.state() == (None, None, {}, {})


def test_what_strangers_change_is_mended_and_what_is_theirs_left_alone() -> None:
    site = Site()
    site.want(*ALL)
    before = site.state()
    table = site.host.nft.tables["inet", owner.host_table(OURS)]
    table.chains["published"].rows.pop()
    assert site.host.chain is not None
    site.host.chain[NET].pop()
    site.kernel.addresses[site.kernel.namespaces[HOST][owner.uplink_host_link(NET)].index].clear()
    site.kernel.switches[HOST]["ipv4/ip_forward"] = "0"
    site.loop.suspect()
    site.settle()
    assert site.state() == before and site.kernel.switches[HOST]["ipv4/ip_forward"] == "1"
    site.host.nft.run("table inet theirs {\nchain theirs {\naccept\n}\n}\n")
    site.want()
    assert [*site.host.nft.tables] == [("inet", "theirs")]
    site.host.chain = None
    FakeLinks(site.kernel, HOST).add_bridge(owner.uplink_host_link(NET), "", 1500)
    site.want(*ALL)
    assert (
        site.statuses[UPLINK.key].reason
        == f"uplink: the host has a link {owner.uplink_host_link(NET)} that is not ours"
    )
    assert site.states()[f"bridge/{NET}"] == "active"


@pytest.mark.parametrize("address", ["100.64.0.7/10", "100.64.0.200/32", "fd00::7/60"])
def test_a_network_that_the_host_is_on_by_another_link_is_left_to_that(address: str) -> None:
    """Its gateway may be there, and would be the host itself."""
    site = Site()
    links = FakeLinks(site.kernel, HOST)
    links.add_bridge("eth9", "", 1500)
    links.add_address("eth9", address)
    links.add_address("eth9", "fe80::7/64")
    site.want(*ALL)
    own = next(text for text in UPLINK.addresses if (":" in text) == (":" in address))
    assert site.statuses[UPLINK.key].reason == f"uplink: the host has {address} on link eth9, beside {own}"
    assert links.find(owner.uplink_host_link(NET)) is None
    links.remove("eth9")
    site.want(*ALL)
    assert site.states()[UPLINK.key] == "active"
    links.add_bridge("eth9", "", 1500)
    links.add_address("eth9", address)  # later is too late, and what is published stays
    site.loop.suspect()
    site.settle()
    assert site.states()[UPLINK.key] == "active"


def test_a_port_is_published_for_one_and_not_while_a_program_has_it() -> None:
    site = Site()
    rival = Publish("aaaaaaaa-1", NET, "tcp", ("127.0.0.1",), (70, 90), (Target("100.64.0.6", (70, 90)),))
    site.host.listeners = {("udp", 53)}
    site.want(*ALL)
    assert site.statuses[NAMES.key].reason == "a program has udp port 53 of 127.0.0.1"
    site.want(*ALL, rival)
    assert site.states()[WEB.key] == "active", "who has it keeps it"
    assert "for port forwarding bbbbbbbb-1 already" in site.statuses[rival.key].reason
    site.start()
    site.host.listeners = {("tcp", 80)}
    site.want(*ALL, rival)
    assert site.states() == {
        item.key if not isinstance(item, Bridge) else f"bridge/{NET}": "active" for item in ALL
    } | {rival.key: "error"}, "after a restart, too"
    site.host.listeners.clear()
    site.loop.accept(Update(2, gone=(WEB.key,)))
    site.settle()
    assert site.states()[rival.key] == "active"


def test_a_port_whose_network_has_no_uplink_waits_and_one_with_a_bad_address_stops_no_other() -> None:
    site = Site()
    site.want(Bridge(NET, 1450), WEB)
    assert site.states()[WEB.key] == "waiting"
    bad = Publish("bad", NET, "tcp", ("localhost",), (1, 1), (Target("100.64.0.5", (1, 1)),))
    site.want(*ALL, bad)
    assert site.statuses[bad.key].reason == "addresses 'localhost' is not an IPv4 or IPv6 address"
    assert site.states()[WEB.key] == site.states()[NAMES.key] == "active"


@pytest.mark.parametrize(
    ("addresses", "ports", "target", "rules"),
    [
        (
            ("0.0.0.0",),
            (80, 80),
            Target("100.64.0.5", (80, 80)),
            ["meta nfproto ipv4 tcp dport 80 dnat ip to 100.64.0.5"],
        ),
        (("::",), (80, 80), Target("fd00::5", (8, 8)), ["ip6 daddr != ::1 tcp dport 80 dnat ip6 to [fd00::5]:8"]),
        (
            ("192.0.2.1",),
            (80, 81),
            Target("100.64.0.5", (8, 9)),
            [
                "ip daddr 192.0.2.1 tcp dport 80-81 dnat ip to 100.64.0.5:tcp dport map { 80 : 8, 81 : 9 }",
                'oifname "pxaaaaaaaa-00" ct state new ct status & dnat == 0 ip daddr 100.64.0.5 tcp dport 8-9 drop',
            ],
        ),
        (
            ("2001:db8::9",),
            (80, 80),
            Target("fd00::5", (80, 80)),
            [
                "ip6 daddr 2001:db8::9 tcp dport 80 dnat ip6 to fd00::5",
                'oifname "pxaaaaaaaa-00" ct state new ct status & dnat == 0 ip6 daddr fd00::5 tcp dport 80 drop',
            ],
        ),
        (("::",), (80, 80), Target("100.64.0.5", (80, 80)), None),
    ],
)
def test_rules_of_published_ports(
    addresses: tuple[str, ...], ports: tuple[int, int], target: Target, rules: list[str] | None
) -> None:
    found = host_rules.of_publish(Publish("x", NET, "tcp", addresses, ports, (target,)), "pxaaaaaaaa-00")
    if rules is not None:
        assert [text for _, text in found] == rules
    else:
        assert not any(chain == "published" for chain, _ in found)


def test_a_network_tracks_connections_unless_it_only_joins_routers_to_the_way_out() -> None:
    site = Site()
    vif = Vif("cccccccc-1", NET, "00:00:5e:00:53:01", 1450, "pv1")
    bridge = Bridge(NET, 1450)
    for wanted, expected in (
        ([bridge], BRIDGE_SETTINGS),
        ([bridge, UPLINK], UNTRACKED_SETTINGS),
        ([bridge, UPLINK, vif], BRIDGE_SETTINGS),
        ([bridge, UPLINK], UNTRACKED_SETTINGS),
        ([bridge], BRIDGE_SETTINGS),
    ):
        site.want(*wanted)
        assert site.kernel.namespaces[OURS][owner.bridge_name(NET)].bridge == expected
    site.loop.accept(Update(2, (UPLINK,)))
    site.settle()
    site.loop.accept(Update(3, (vif,)))
    site.settle()
    assert site.kernel.namespaces[OURS][owner.bridge_name(NET)].bridge == BRIDGE_SETTINGS
    site.loop.accept(Update(4, (), gone=(key_of(vif),)))
    site.settle()
    assert site.kernel.namespaces[OURS][owner.bridge_name(NET)].bridge == UNTRACKED_SETTINGS
