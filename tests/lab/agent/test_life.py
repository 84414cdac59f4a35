# SPDX-License-Identifier: Apache-2.0
"""The agent's life: killed, started again, in a stranger's company, removed. Traffic must not notice."""

from __future__ import annotations

import sys
import time

import pytest

from portico.hoststate import Dhcp, DhcpSubnet, Rule
from portico.testing.lab import wait_until
from portico.testing.rig import ANY, NET_A, Rig, Workload, flow, group, lost, network, port

pytestmark = pytest.mark.lab

PORTICO = [sys.executable, "-m", "portico.cli"]
OPEN = (*ANY, Rule("ingress", "IPv4"), Rule("ingress", "IPv6"))


def two(rig: Rig) -> tuple[Workload, Workload]:
    """Start an agent and two workloads in an open group."""
    everybody = group(1, *OPEN)
    a, b = port(1, everybody.group_id), port(2, everybody.group_id)
    rig.want(network(), everybody, a, b)
    rig.start()
    return rig.plug("a", a, "10.0.0.1/24"), rig.plug("b", b, "10.0.0.2/24")


def links(rig: Rig) -> list[str]:
    """Return name, index and alias of every link of ours: equal lists mean that nothing was made anew."""
    return sorted(rig.host.run(["ip", "-n", "portico", "-o", "link"]).out.splitlines())


def names(rig: Rig) -> list[str]:
    return [line.split(": ")[1] for line in links(rig)]


def test_a_killed_agent_and_its_successor_lose_no_packet_and_change_no_link(rig: Rig) -> None:
    a, _ = two(rig)
    before = links(rig)
    pings = flow(a, "10.0.0.2")
    rig.pause()
    time.sleep(0.2)
    rig.start()
    time.sleep(0.2)
    assert lost(pings) == []
    assert links(rig) == before


def test_a_dense_flow_meets_no_gap_while_the_rules_of_many_ports_are_put_in_force_anew(rig: Rig) -> None:
    everybody = group(1, *OPEN)
    vifs = [port(number, everybody.group_id) for number in range(1, 81)]
    rig.want(network(), everybody, *vifs)
    rig.start()
    a, _ = rig.plug("a", vifs[0], "10.0.0.1/24"), rig.plug("b", vifs[1], "10.0.0.2/24")
    pings = flow(a, "10.0.0.2", 0.0005)
    for _ in range(6):
        rig.pause()
        rig.start()
    assert lost(pings) == []


def test_connections_outlive_the_agent(rig: Rig) -> None:
    a, b = two(rig)
    b.serve("tcp", "10.0.0.2", 80)
    talk = a.talk("10.0.0.2", 80)
    for _ in range(4):
        rig.pause()
        rig.start()
    mark = len(talk.output)
    wait_until("an answer", lambda: "answered" in talk.output[mark:], 20)
    assert "closed" not in talk.output and talk.alive


def test_a_rule_removed_while_the_agent_was_down_cuts_its_connections(rig: Rig) -> None:
    a, b = two(rig)
    b.serve("tcp", "10.0.0.2", 80)
    talk = a.talk("10.0.0.2", 80)
    rig.pause()
    rig.want(group(1, *ANY))
    rig.start()
    time.sleep(0.3)
    mark = len(talk.output)
    time.sleep(0.5)
    assert "answered" not in talk.output[mark:]


def test_sigterm_leaves_the_data_plane_as_it_is(rig: Rig) -> None:
    a, _ = two(rig)
    assert rig.agent
    assert rig.agent.stop() == 0
    assert a.pings("10.0.0.2")


def test_what_is_no_longer_wanted_goes_and_foreign_links_stay(rig: Rig) -> None:
    two(rig)
    for where in (["ip"], ["ip", "-n", "portico"]):
        rig.host.run([*where, "link", "add", "foreign", "type", "bridge"])
    rig.pause()
    rig.want(gone=list(rig.objects.values()))
    rig.want(network())
    rig.start()
    # links that nobody waits for go in the background
    kept = ["braaaaaaaa-00", "foreign", "lo"]
    wait_until("no others", lambda: sorted(names(rig)) == kept, 20, lambda: str(names(rig)))
    assert "foreign" in rig.host.run(["ip", "link"]).out


def test_nothing_is_swept_before_the_first_complete_update(rig: Rig) -> None:
    a, _ = two(rig)
    rig.pause()
    agent = rig.host.spawn([*PORTICO, "agent", "--api-url", "unix:/run/nobody.sock"])
    time.sleep(0.7)
    assert agent.alive
    assert a.pings("10.0.0.2")


def test_a_strangers_edits_are_repaired(rig: Rig) -> None:
    everybody = group(1, *OPEN)
    a, _ = two(rig)
    idle = port(3, everybody.group_id)
    rig.want(idle)
    inside = ["ip", "netns", "exec", "portico"]

    def repaired(*edit: str) -> bool:
        rig.host.run([*inside, *edit])
        wait_until(f"repair of {edit}", lambda: a.pings("10.0.0.2") and idle_is_there(), 20)
        return True

    def idle_is_there() -> bool:
        return rig.host.run(["ip", "link", "show", idle.link_name], check=False).ok

    assert repaired("ip", "link", "del", "pbaaaa0003-00")
    assert repaired("ip", "link", "set", "pbaaaa0001-00", "nomaster")
    assert repaired("ip", "link", "set", "pbaaaa0002-00", "down")
    assert repaired("ip", "link", "set", "braaaaaaaa-00", "down")
    assert repaired("ip", "link", "del", "braaaaaaaa-00")
    assert repaired("nft", "flush", "ruleset")
    # Without any rule everything passes: that pings do tells nothing.
    chain = [*inside, "nft", "list", "chain", "bridge", "portico", "receive"]
    wait_until("the rules are there again", lambda: rig.host.run(chain, check=False).ok, 20)
    rig.host.run([*inside, "nft", "add", "rule", "bridge", "portico", "receive", "accept"])
    wait_until(
        "the stranger's rule is gone",
        lambda: "accept" not in rig.host.run(chain).out,
        3,
    )
    rig.host.run([*inside, "nft", "add", "table", "inet", "foreign"])
    time.sleep(0.3)
    assert "foreign" in rig.host.run([*inside, "nft", "list", "tables"]).out


def test_a_container_that_ended_while_the_agent_was_down_gets_its_link_again(rig: Rig) -> None:
    a, b = two(rig)
    rig.pause()
    rig.host.run(["ip", "netns", "del", "b"])
    wait_until("b is gone", lambda: "pbaaaa0002" not in "".join(links(rig)), 20)
    rig.start()
    again = rig.plug("b2", b.vif, "10.0.0.2/24")
    assert again.pings("10.0.0.1") and a.pings("10.0.0.2")


def test_a_half_made_pair_of_a_killed_agent_is_made_whole(rig: Rig) -> None:
    everybody = group(1, *OPEN)
    vif = port(1, everybody.group_id)
    rig.host.run(["ip", "netns", "add", "portico"])
    rig.host.run(["ip", "-n", "portico", "link", "add", "pbaaaa0001-00", "type", "veth", "peer", "name", vif.link_name])
    rig.host.run(["ip", "-n", "portico", "link", "set", vif.link_name, "netns", "1"])
    rig.want(network(), everybody, vif)
    rig.start()
    assert rig.statuses()[f"vif/{vif.port_id}"].state == "active"


def test_a_name_that_is_not_ours_is_an_error_that_stops_no_other(rig: Rig) -> None:
    everybody = group(1, *OPEN)
    bad, good = port(1, everybody.group_id), port(2, everybody.group_id)
    rig.host.run(["ip", "link", "add", bad.link_name, "type", "bridge"])
    rig.want(network(), everybody, bad, good)
    rig.start()
    status = rig.statuses()
    assert status[f"vif/{bad.port_id}"].state == "error"
    assert bad.link_name in status[f"vif/{bad.port_id}"].reason
    assert status[f"vif/{good.port_id}"].state == "active"
    rig.host.run(["ip", "link", "del", bad.link_name])
    rig.wait_status(f"vif/{bad.port_id}", "active")


def test_a_vif_waits_for_its_network(rig: Rig) -> None:
    vif = port(1, guard=None)
    rig.want(vif)
    rig.start()
    assert rig.statuses()[f"vif/{vif.port_id}"].state == "waiting"
    rig.want(network())
    rig.wait_status(f"vif/{vif.port_id}", "active")


def test_a_changed_mac_or_mtu_is_applied(rig: Rig) -> None:
    vif = port(1, guard=None)
    rig.want(network(), vif)
    rig.start()
    rig.want(port(1, guard=None, mac="00:00:5e:00:53:99", mtu=1400))
    shown = rig.host.run(["ip", "link", "show", vif.link_name]).out
    assert "00:00:5e:00:53:99" in shown and "mtu 1400" in shown


def test_purge_removes_everything_of_ours_and_refuses_while_an_agent_runs(rig: Rig) -> None:
    tap = port(3, guard=None, plug="tap", tap_name="tapx", make_tap=True)
    two(rig)
    rig.want(tap)
    rig.host.run(["ip", "link", "add", "foreign", "type", "bridge"])
    purge = [*PORTICO, "agent", "--purge"]
    refused = rig.host.run(purge, check=False)
    assert refused.code == 1 and "another one runs" in refused.err
    assert rig.agent
    rig.agent.stop()
    rig.host.run(purge)
    shown = rig.host.run(["ip", "-br", "link"]).out
    assert sorted(line.split()[0] for line in shown.splitlines()) == ["foreign", "lo"]
    assert "portico" not in rig.host.run(["ip", "netns"]).out
    assert rig.host.run(purge).out == ""


def test_two_agents_do_not_share_a_host(rig: Rig) -> None:
    two(rig)
    second = rig.host.run(rig.command, check=False)
    assert second.code == 1 and "another one runs" in second.err


def test_agents_of_two_namespaces_on_one_host_leave_each_other_alone(rig: Rig) -> None:
    other = Rig(rig.host, "other")
    mine = port(1, guard=None, plug="tap", tap_name="tapmine", make_tap=True)
    theirs = port(2, guard=None, plug="tap", tap_name="taptheirs", make_tap=True)
    subnet = DhcpSubnet("s4", "10.0.0.0/24", "10.0.0.250", "dhcpv4")
    server = Dhcp(NET_A, "port", "00:00:5e:00:53:fa", 1450, "lab.example", (subnet,))
    for one, tap in ((rig, mine), (other, theirs)):
        one.want(network(), tap, server)
        one.start()
    rig.pause()
    before = shown(rig)
    rig.start()
    assert {status.state for one in (rig, other) for status in one.statuses().values()} == {"active"}
    assert shown(rig) == before
    assert other.agent
    other.agent.stop()
    removed = rig.host.run([*PORTICO, "agent", "--purge", "--agent-netns", "other"]).out
    assert "taptheirs" in removed and "tapmine" not in removed
    rig.pause()
    rig.start()
    assert {status.state for status in rig.statuses().values()} == {"active"}
    assert shown(rig) == [line for line in before if "theirs" not in line and theirs.link_name not in line]


def shown(rig: Rig) -> list[str]:
    """Return the host's links but their counters, and the processes that serve DHCP."""
    links_of_host = rig.host.run(["ip", "-o", "link"]).out.splitlines()
    joins = rig.host.run(["tc", "filter", "show", "dev", "tapmine", "ingress"]).out.splitlines()
    servers = [path.read_text() for path in rig.host.path("/run/portico/dhcp/portico").rglob("pid")]
    return [*links_of_host, *joins, *servers]


def test_a_sysctl_that_somebody_changed_is_set_again_by_the_next_full_pass(rig: Rig) -> None:
    two(rig)
    name = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose"
    inside = ["ip", "netns", "exec", "portico"]
    rig.host.run([*inside, "sh", "-c", f"echo 1 > {name}"])
    rig.want(group(9))  # everything is compared
    assert rig.host.run([*inside, "cat", name]).out.strip() == "0"
