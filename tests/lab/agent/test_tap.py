# SPDX-License-Identifier: Apache-2.0
"""Taps, with a program in the place of a hypervisor."""

from __future__ import annotations

import sys

import pytest
from msgspec import structs

from portico.hoststate import Rule
from portico.testing import frames
from portico.testing.lab import Process, wait_until
from portico.testing.rig import ANY, Rig, group, network, port

pytestmark = pytest.mark.lab

OPEN = (*ANY, Rule("ingress", "IPv4"))

# Answers ARP for 10.0.0.1 and says every packet that it reads; sends its arguments.
HYPERVISOR = """
import fcntl, os, struct, sys
f = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(f, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x1002))
print("open")
mac = bytes.fromhex("00005e005301")
for frame in sys.argv[2:]:
    os.write(f, bytes.fromhex(frame))
while True:
    p = os.read(f, 2000)
    print(p.hex())
    if p[12:14] == bytes([8, 6]) and p[38:42] == bytes([10, 0, 0, 1]):
        os.write(f, p[6:12] + mac + p[12:20] + bytes([0, 2]) + mac + p[38:42] + p[22:32])
    if p[12:14] == bytes([8, 0]) and p[23] == 1 and p[34] == 8:
        body = p[:34] + bytes([0, 0]) + struct.pack("!H", struct.unpack("!H", p[36:38])[0] + 0x800 & 0xFFFF) + p[38:]
        os.write(f, p[6:12] + mac + body[12:26] + p[30:34] + p[26:30] + body[34:])
"""


def hypervisor(rig: Rig, *sent: bytes) -> Process:
    argv = [sys.executable, "-I", "-S", "-u", "-c", HYPERVISOR, "tapone", *(frame.hex() for frame in sent)]
    process = rig.host.spawn(argv, log="hypervisor")
    process.wait_for_text("open", 20)
    return process


# An agent that makes a tap, and lives until it has signed it or not.
MAKER = """
import os, sys
from portico.agent.drivers.tap import new_tap
with new_tap(os.open("/proc/self/ns/net", os.O_RDONLY), sys.argv[1]):
    assert os.path.exists("/sys/class/net/" + sys.argv[1])
    if sys.argv[2:]:
        os.kill(os.getpid(), 9)
"""


def test_an_agent_that_dies_before_it_has_signed_a_tap_leaves_none(rig: Rig) -> None:
    for argv in (["taplost", "dies"], ["tapkept"]):
        rig.host.run([sys.executable, "-c", MAKER, *argv], check=False)
    links = rig.host.run(["ip", "-br", "link"]).out
    assert "tapkept" in links and "taplost" not in links


def test_a_port_waits_for_its_tap_and_is_active_as_soon_as_it_comes(rig: Rig) -> None:
    everybody = group(1, *OPEN)
    tap = port(1, everybody.group_id, plug="tap", tap_name="tapone")
    peer = port(2, everybody.group_id)
    key = f"vif/{tap.port_id}"
    rig.want(network(), everybody, tap, peer)
    rig.start()
    status = rig.statuses()[key]
    assert (status.state, status.reason) == ("waiting", "tap tapone does not exist on this host yet")
    machine = hypervisor(rig)
    rig.wait_status(key, "active", 1)
    other = rig.plug("b", peer, "10.0.0.2/24")
    wait_until("the machine answers", lambda: other.pings("10.0.0.1"), 20)
    machine.kill()
    rig.wait_status(key, "waiting", 1)
    hypervisor(rig)
    rig.wait_status(key, "active", 1)
    assert other.pings("10.0.0.1")


def test_a_tap_is_guarded(rig: Rig) -> None:
    everybody = group(1, *OPEN)
    tap, peer = port(1, everybody.group_id, plug="tap", tap_name="tapone", make_tap=True), port(2, guard=None)
    rig.want(network(), everybody, tap, peer)
    rig.start()
    other = rig.plug("b", peer)
    sniffer = other.sniff()

    def datagram(source: str, marker: bytes) -> bytes:
        packet = frames.ipv4(source, "10.0.0.2", frames.UDP, frames.udp(1, 2, marker * 8))
        return frames.ethernet(peer.mac, tap.mac, frames.IPV4, packet)

    hypervisor(rig, datagram("10.0.0.9", b"spoofed"), datagram("10.0.0.1", b"honest!"))
    sniffer.wait_for_text((b"honest!" * 8).hex(), 20)
    assert (b"spoofed" * 8).hex() not in sniffer.output


def test_a_tap_made_ready_is_joined_and_silent_until_its_binding_is_active(rig: Rig) -> None:
    everybody = group(1, *OPEN)
    coming = port(1, everybody.group_id, plug="tap", tap_name="tapone", admin_up=False)
    peer = port(2, everybody.group_id)
    rig.want(network(), everybody, coming, peer)
    rig.start()
    machine = hypervisor(rig)
    rig.wait_status(f"vif/{coming.port_id}", "active")
    assert "mirred" in rig.host.run(["tc", "filter", "show", "dev", "tapone", "ingress"]).out
    other = rig.plug("b", peer, "10.0.0.2/24")
    assert other.misses("10.0.0.1")
    assert "open" in machine.output and other.vif.mac.replace(":", "") not in machine.output
    rig.want(structs.replace(coming, admin_up=True))
    wait_until("the machine answers", lambda: other.pings("10.0.0.1"), 20)


def test_unplugging_leaves_a_hypervisors_tap_and_what_others_do_with_it(rig: Rig) -> None:
    everybody = group(1, *OPEN)
    tap = port(1, everybody.group_id, plug="tap", tap_name="tapone")
    rig.want(network(), everybody, tap)
    rig.start()
    hypervisor(rig)
    rig.wait_status(f"vif/{tap.port_id}", "active")
    rig.want(gone=[tap])
    assert rig.host.run(["ip", "link", "show", "tapone"]).ok
    assert "clsact" not in rig.host.run(["tc", "qdisc", "show", "dev", "tapone"]).out


def test_a_tap_is_taken_as_nova_makes_it_and_let_go_when_nova_removes_it(rig: Rig) -> None:
    everybody = group(1, *OPEN)
    tap = port(1, everybody.group_id, plug="tap", tap_name="tapone")
    rig.want(network(), everybody, tap)
    rig.start()
    rig.host.run(["ip", "tuntap", "add", "tapone", "mode", "tap", "multi_queue"])
    rig.host.run(["ip", "link", "set", "tapone", "up"])
    rig.host.run(["ip", "link", "set", "tapone", "mtu", "1450"])
    rig.wait_status(f"vif/{tap.port_id}", "active", 1)
    rig.host.run(["ip", "link", "delete", "tapone"])
    rig.wait_status(f"vif/{tap.port_id}", "waiting", 1)


def test_an_agent_finds_its_joins_again(rig: Rig) -> None:
    everybody = group(1, *OPEN)
    tap = port(1, everybody.group_id, plug="tap", tap_name="tapone", make_tap=True)
    rig.want(network(), everybody, tap)
    rig.start()
    before = rig.host.run(["tc", "filter", "show", "dev", "tapone", "ingress"]).out
    rig.pause()
    rig.start()
    assert rig.host.run(["tc", "filter", "show", "dev", "tapone", "ingress"]).out == before
    assert "mirred" in before
    rig.pause()
    rig.want(gone=[tap])
    rig.start()
    assert not rig.host.run(["ip", "link", "show", "tapone"], check=False).ok


def test_a_second_port_on_a_tap_is_an_error_and_takes_nothing_from_the_first(rig: Rig) -> None:
    everybody = group(1, *OPEN)
    first, second = (port(number, everybody.group_id, plug="tap", tap_name="tapone") for number in (1, 2))
    rig.want(network(), everybody, first)
    rig.start()
    hypervisor(rig)
    rig.wait_status(f"vif/{first.port_id}", "active")
    joined = rig.host.run(["tc", "filter", "show", "dev", "tapone", "ingress"]).out
    rig.want(second)
    status = rig.wait_status(f"vif/{second.port_id}", "error")
    assert status.reason == f"tap tapone is joined to port {first.port_id}"
    assert rig.host.run(["tc", "filter", "show", "dev", "tapone", "ingress"]).out == joined
    assert rig.statuses()[f"vif/{first.port_id}"].state == "active"
    rig.want(gone=[first])
    rig.wait_status(f"vif/{second.port_id}", "active")


@pytest.mark.parametrize("end", ["tap", "port"])
@pytest.mark.parametrize("lost", [["qdisc", "del", "clsact"], ["filter", "del", "ingress"]])
def test_a_join_that_somebody_takes_away_is_made_again_at_once(rig: Rig, end: str, lost: list[str]) -> None:
    everybody = group(1, *OPEN)
    tap = port(1, everybody.group_id, plug="tap", tap_name="tapone", make_tap=True)
    rig.want(network(), everybody, tap)
    rig.start()
    link = tap.tap_name if end == "tap" else tap.link_name

    def joined() -> bool:
        return "mirred" in rig.host.run(["tc", "filter", "show", "dev", link, "ingress"]).out

    assert joined()
    what, verb, where = lost
    rig.host.run(["tc", what, verb, "dev", link, where])
    wait_until("the join is there again", joined, 20)
