# SPDX-License-Identifier: Apache-2.0
"""The rules as nft reads them, and what 1,000 ports cost."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest

from portico.agent import owner
from portico.agent.delta import Wanted
from portico.agent.fragment import fragment
from portico.agent.policies import Pace
from portico.agent.ruleset import TABLES, Ruleset, render, render_instead, render_whole
from portico.hoststate import ROUTED, Guard, HostObject, Log, Member, Rule, Source, Space, Update, Vif
from portico.testing.rig import ANY, NET_A, NET_B, Rig, group, network, port

pytestmark = pytest.mark.lab

MANY = 1000


def every_kind() -> list[HostObject]:
    """Return objects whose rules use every statement, set and map there is."""
    me = group(1)
    numbers = [Rule("ingress", "IPv4", number, 1, 2) for number in (6, 17, 33, 132, 136)] + [
        Rule("egress", "IPv6", number) for number in (0, 43, 44, 47, 58, 60, 255)
    ]
    remotes = [
        Rule("ingress", "IPv4", remote_group_id=me.group_id),
        Rule("ingress", "IPv6", 6, 22, 22, remote_group_id=me.group_id),
        Rule("egress", "IPv4", remote_cidr="0.0.0.0/0"),
        Rule("egress", "IPv6", 58, 128, 0, "2001:db8::/32"),
        Rule("ingress", "IPv4", 1, 8),
        Rule("ingress", "IPv4", 6, 5, None),
    ]
    mac = "00:00:5e:00:53:07"
    cidrs = ("10.0.0.7/32", "0.0.0.0/0", "10.0.0.0/8", "2001:db8::7/128", "2001:db8::/32", "::/0")
    wide = Guard(tuple(Source(mac, cidr) for cidr in cidrs), (me.group_id, group(2).group_id))
    members = [Member(me.group_id, net, cidr) for net in (NET_A, NET_B) for cidr in cidrs]
    logs = (Log("a", "red", "ALL"), Log("b", "red", "ACCEPT", me.group_id), Log("c", "red", "DROP"))
    loud = Guard((), wide.group_ids, logs)
    ports = [
        port(4, guard=loud),
        port(5, guard=loud, network=ROUTED),
        port(7, guard=wide),
        port(8, guard=None),
        port(9, admin_up=False),
        port(1, me.group_id, network=NET_B),
    ]
    return [
        network(),
        network(NET_B),
        Space(1500),
        group(1, *numbers, *remotes),
        group(2, *ANY, stateful=False),
        *members,
        *ports,
    ]


def test_nft_takes_the_whole_and_every_step_there_and_back(rig: Rig) -> None:
    rig.host.run(["ip", "netns", "add", "x"])
    wanted, rules = Wanted(), Ruleset(Pace())

    def nft(text: str, *options: str) -> str:
        return rig.host.run(["ip", "netns", "exec", "x", "nft", *options, "-f", "-"], stdin=text).out

    def table(family: str, name: str) -> str:
        return rig.host.run(["ip", "netns", "exec", "x", "nft", "list", "table", family, name]).out

    def listing() -> list[str]:
        return sorted(rig.host.run(["ip", "netns", "exec", "x", "nft", "list", "ruleset"]).out.split())

    nft(render_whole(rules))
    empty = listing()
    steps = [every_kind()[:1], *([item] for item in every_kind()[1:])]
    for step in steps:
        dirty = wanted.change(step, ())
        pieces = {key: fragment(wanted.objects[key], wanted) for key in dirty}
        change = rules.change({key: piece for key, piece in pieces.items() if piece is not None})
        nft(render(change))
    grown = listing()
    nft(render_whole(rules), "-c")
    nft(render_whole(rules))
    assert listing() == grown
    tables = {family: table(family, name) for family, name in TABLES}
    nft(render_instead(rules, tables))
    assert listing() == grown
    nft(render_instead(Ruleset(), tables))
    assert listing() == empty
    nft(render_instead(rules, {family: table(family, name) for family, name in TABLES}))
    assert listing() == grown
    for key in reversed(list(rules.fragments)):
        nft(render(rules.change({}, [key])))
    assert listing() == empty


def crowd(count: int, *groups: str) -> list[Vif]:
    made = []
    for number in range(1, count + 1):
        port_id = f"{number:08x}-0000-4000-8000-000000000000"
        mac = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        source = Source(mac, f"10.0.{number >> 8}.{number & 255}/32")
        link = owner.host_link(port_id)
        made.append(Vif(port_id, NET_A, mac, 1450, link, guard=Guard((source,), groups)))
    return made


# Gives the agent one Update after the other; prints for each: name, processor time until the report (with that of
# programs that the agent ran), statuses, active ones.
TIMED = """
import os, queue, sys
from pathlib import Path
import msgspec
from portico.agent.runtime import Place, Runtime
from portico.hoststate import Update
done = queue.SimpleQueue()
place = Place("portico", Path("/var/lib/portico"), Path("/run/portico"), 1e6)
agent = Runtime(place, lambda revision, statuses: done.put((revision, statuses)))
agent.start()
for name in sys.argv[1:]:
    update = msgspec.json.decode(Path(name).read_bytes(), type=Update)
    began = sum(os.times()[:4])
    agent.offer(update)
    statuses = done.get(timeout=100)[1]
    print(name, sum(os.times()[:4]) - began, len(statuses), sum(s.state == "active" for s in statuses), flush=True)
agent.stop()
"""


def test_a_thousand_ports_are_compared_and_a_rule_of_all_changed_with_a_second_of_work(rig: Rig) -> None:
    me = group(1).group_id
    base = group(1, *ANY, Rule("ingress", "IPv4", remote_group_id=me))
    changed = group(1, *ANY, Rule("ingress", "IPv4", 6, 80, 80))
    vifs = crowd(MANY, me)
    members = [Member(me, NET_A, source.cidr) for vif in vifs if vif.guard for source in vif.guard.sources]
    marker = group(9)
    updates: dict[str, list[HostObject]] = {
        "first": [network(), base, *vifs, *members],
        "nothing": [network(), base, *vifs, *members, marker],
        "rule": [network(), changed, *vifs, *members, marker],
    }
    for revision, (name, objects) in enumerate(updates.items(), 1):
        update = Update(revision, tuple(objects), complete=True)
        rig.host.path(f"/run/{name}").write_bytes(msgspec.json.encode(update))
    argv = [sys.executable, "-c", TIMED, *(f"/run/{name}" for name in updates)]
    lines = [line.split() for line in rig.host.run(argv, timeout_s=120).out.splitlines()]
    took = {Path(line[0]).name: float(line[1]) for line in lines}
    counts = {Path(line[0]).name: (int(line[2]), int(line[3])) for line in lines}
    total = 2 * MANY + 2
    assert counts["first"] == (total, total)
    assert took["first"] / MANY < 0.005
    assert took["nothing"] < 1
    assert took["rule"] < 1


def test_one_port_more_costs_milliseconds(rig: Rig) -> None:
    everybody = group(1, *ANY)
    rig.want(network(), everybody, *crowd(20, everybody.group_id))
    rig.start()
    assert rig.agent
    began = worked_s(rig.agent.pid)
    for number in range(100, 110):
        rig.want(port(number, everybody.group_id))
    assert worked_s(rig.agent.pid) - began < 10 * 0.05


def worked_s(pid: int) -> float:
    """Return the processor time of a process and of its children that have ended (proc(5): utime to cstime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
