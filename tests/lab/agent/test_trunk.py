# SPDX-License-Identifier: Apache-2.0
"""Trunks: one tap with ports on several networks, told apart by tags, with a program in the place of a hypervisor."""

from __future__ import annotations

import sys
from typing import TextIO

import pytest

from portico.hoststate import Rule, Vif
from portico.testing import frames
from portico.testing.lab import Process, wait_until
from portico.testing.rig import ANY, NET_B, Rig, group, network, port

pytestmark = pytest.mark.lab

EVERYBODY = group(1, *ANY, Rule("ingress", "IPv4"), Rule("ingress", "IPv6"))
VLAN = 7

# Says every frame that it reads; sends what it is told to, a frame in each line.
MACHINE = """
import fcntl, os, struct, sys, threading
f = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(f, 0x400454CA, struct.pack("16sH22x", b"tapone", 0x1002))
print("open")
def send():
    for frame in open("/run/frames"):
        os.write(f, bytes.fromhex(frame))
threading.Thread(target=send, daemon=True).start()
while True:
    print(os.read(f, 2000).hex())
"""


def test_a_tap_has_a_port_on_another_network_by_a_tag(rig: Rig) -> None:
    own = port(1, EVERYBODY.group_id, plug="tap", tap_name="tapone")
    sub = port(2, EVERYBODY.group_id, network=NET_B, plug="tap", tap_name="tapone", vlan=VLAN)
    near, far = port(3, EVERYBODY.group_id), port(4, EVERYBODY.group_id, network=NET_B)
    rig.want(network(), network(NET_B), EVERYBODY, own, sub, near, far)
    rig.start()
    assert rig.statuses()[f"vif/{sub.port_id}"].reason == "tap tapone does not exist on this host yet"
    rig.host.run(["mkfifo", "/run/frames"])
    machine = rig.host.spawn([sys.executable, "-I", "-S", "-u", "-c", MACHINE], log="machine")
    machine.wait_for_text("open", 20)
    with rig.host.path("/run/frames").open("w", buffering=1) as feed:
        tell_apart(rig, machine, feed, (own, sub, near, far))


def tell_apart(rig: Rig, machine: Process, feed: TextIO, vifs: tuple[Vif, Vif, Vif, Vif]) -> None:
    own, sub, near, far = vifs
    for vif in (own, sub):
        rig.wait_status(f"vif/{vif.port_id}", "active", 10)
    wn, wf = rig.plug("near", near, "10.0.0.3/24"), rig.plug("far", far, "10.0.0.4/24")
    heard = {"near": wn.sniff(), "far": wf.sniff()}

    def send(sender: str, source: str, tag: int, text: bytes) -> None:
        packet = frames.ipv4(source, "10.0.0.255", frames.UDP, frames.udp(9, 9, text))
        frame = frames.ethernet("ff:ff:ff:ff:ff:ff", sender, frames.IPV4, packet)
        feed.write((frames.tagged(tag, frame) if tag else frame).hex() + "\n")

    def hears(text: bytes) -> set[str]:
        return {name for name, process in heard.items() if text.hex() in process.output}

    send(own.mac, "10.0.0.1", 0, b"plain!")
    send(sub.mac, "10.0.0.2", VLAN, b"tagged")
    wait_until("both are heard", lambda: hears(b"plain!") == {"near"} and hears(b"tagged") == {"far"}, 20)
    for mac, address, tag in ((sub.mac, "10.0.0.9", VLAN), (own.mac, "10.0.0.1", VLAN), (own.mac, "10.0.0.1", 8)):
        send(mac, address, tag, b"wrong!")
    wf.run("ping", "-c", "1", "-W", "0.3", "10.0.0.2", check=False)
    wn.run("ping", "-c", "1", "-W", "0.3", "10.0.0.1", check=False)
    asked = f"8100{VLAN:04x}08060001080006040001{frames.mac(far.mac).hex()}"
    wait_until("the question has the tag", lambda: asked in machine.output, 10, machine.tail)
    plain = f"{'f' * 12}{frames.mac(near.mac).hex()}0806"
    wait_until("the other one has none", lambda: plain in machine.output, 10, machine.tail)
    assert f"{frames.mac(near.mac).hex()}8100" not in machine.output
    assert hears(b"wrong!") == set(), "a subport is guarded like any port, and other tags lead nowhere"

    rig.host.run(["tc", "filter", "del", "dev", "tapone", "ingress"])
    send(sub.mac, "10.0.0.2", VLAN, b"again1")
    rig.pause()
    rig.start()
    send(sub.mac, "10.0.0.2", VLAN, b"again2")
    wait_until("what a stranger took is there again", lambda: hears(b"again2") == {"far"}, 20)
    rig.want(gone=[sub])
    send(sub.mac, "10.0.0.2", VLAN, b"gone!!")
    send(own.mac, "10.0.0.1", 0, b"later!")
    wait_until("the trunk's own port goes on", lambda: hears(b"later!") == {"near"}, 20)
    assert hears(b"gone!!") == set()
    assert "portico-tag" not in rig.host.run(["tc", "filter", "show", "dev", "tapone", "ingress"]).out
