# SPDX-License-Identifier: Apache-2.0
"""Routed ports and the world on the real kernel: floating addresses, the way out, and ports that the host publishes."""

from __future__ import annotations

import sys

import pytest
from tests.lab.agent.test_routed import EVERYBODY, plug, routed

from portico.hoststate import ROUTED, Forward, Publish, Space, Standing, Target
from portico.testing.lab import wait_until
from portico.testing.rig import ANY, Rig, Workload, group

pytestmark = pytest.mark.lab

WAN, BEYOND, FLOATING = "198.51.100.1", "198.51.100.2", "203.0.113.9"
WAN6, BEYOND6 = "2001:db8:1::1", "2001:db8:1::2"
SPACE = Space(1500, ipv6=True, way_out=True, masquerade=("10.0.0.0/24",), known=("10.0.0.0/24", "203.0.113.0/24"))
WEB = Publish(
    "web",
    ROUTED,
    "tcp",
    ("0.0.0.0", "::"),
    (8080, 8080),
    (Target("10.0.0.2", (80, 80)), Target("2001:db8::2", (80, 80))),
)
SECRET = Publish("secret", ROUTED, "tcp", ("127.0.0.1",), (9000, 9000), (Target("10.0.0.2", (81, 81)),))

# Tells everybody who connects their own address.
TELL = """
import selectors, socket, sys
every = selectors.DefaultSelector()
for port in sys.argv[1:]:
    s = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
    every.register(s, selectors.EVENT_READ)
print("telling", flush=True)
while True:
    for key, _ in every.select():
        c, peer = key.fileobj.accept()
        c.sendall(peer[0].removeprefix("::ffff:").encode())
        c.close()
"""
ASK = """
import socket, sys
try:
    print(socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""
SILENCE = "TimeoutError"


def ask(rig: Rig, where: str, address: str, number: int, within_s: float = 10) -> str:
    """Return what is told of who asks from a namespace of the host ("" for its own), or an error."""
    there = ["ip", "netns", "exec", where] if where else []
    return rig.host.run(
        [*there, sys.executable, "-I", "-S", "-c", ASK, address, str(number), str(within_s)]
    ).out.strip()


def start(rig: Rig) -> tuple[Workload, Workload]:
    """Start an agent, two routed workloads, and a namespace beyond the host that knows nothing of routed subnets."""
    run = rig.host.run
    run(["ip", "netns", "add", "beyond"])
    run(["ip", "link", "add", "wan", "type", "veth", "peer", "name", "eth0", "netns", "beyond"])
    for there, name, address, ipv6 in (([], "wan", WAN, WAN6), (["-n", "beyond"], "eth0", BEYOND, BEYOND6)):
        run(["ip", *there, "link", "set", name, "up"])
        run(["ip", *there, "addr", "add", f"{address}/24", "dev", name])
        run(["ip", *there, "addr", "add", f"{ipv6}/64", "dev", name, "nodad"])
    run(["ip", "-n", "beyond", "route", "add", "203.0.113.0/24", "via", WAN])
    one, two = routed(1, EVERYBODY.group_id), routed(2, EVERYBODY.group_id)
    rig.want(SPACE, EVERYBODY, one, two)
    rig.start()
    a, b = plug(rig, "a", one), plug(rig, "b", two)
    b.python(TELL, "80", "81").wait_for_text("telling", 20)
    rig.host.spawn(
        ["ip", "netns", "exec", "beyond", sys.executable, "-I", "-S", "-u", "-c", TELL, "7000"], log="beyond"
    ).wait_for_text("telling", 20)
    return a, b


def test_a_floating_address_is_led_to_its_port_both_ways_and_goes_with_what_was_begun_by_it(rig: Rig) -> None:
    a, b = start(rig)
    assert ask(rig, "a", BEYOND, 7000) == ask(rig, "b", BEYOND, 7000) == WAN, "the host's own address"
    led = routed(2, EVERYBODY.group_id, floating=(Standing(FLOATING, "10.0.0.2"),))
    led_routes = (*led.routes, f"{FLOATING}/32")
    forward = Forward("203.0.113.8", "tcp", (8000, 8000), "10.0.0.1", (80, 80))
    one = routed(1, EVERYBODY.group_id, forwards=(forward,), routes=("10.0.0.1/32", "203.0.113.8/32"))
    rig.want(routed(2, EVERYBODY.group_id, floating=led.floating, routes=led_routes), one)
    assert "proto 80" in rig.host.run(["ip", "route", "show", FLOATING]).out, "for a speaker to announce"
    a.python(TELL, "80").wait_for_text("telling", 20)
    expected = {
        ("beyond", FLOATING, 80): BEYOND,
        ("beyond", "203.0.113.8", 8000): BEYOND,
        ("a", FLOATING, 80): "10.0.0.1",
        ("b", FLOATING, 80): FLOATING,
        ("", FLOATING, 80): WAN,
        ("b", BEYOND, 7000): FLOATING,
        ("a", BEYOND, 7000): WAN,
        ("a", "10.0.0.2", 80): "10.0.0.1",
        ("b", "10.0.0.1", 80): "10.0.0.2",
    }
    assert {asked: ask(rig, *asked) for asked in expected} == expected
    b.serve("tcp", "10.0.0.2", 82)
    talk = a.talk(FLOATING, 82)
    rig.pause()
    rig.start()
    mark = len(talk.output)
    wait_until("it goes on with a new agent", lambda: "answered" in talk.output[mark:], 20)
    rig.want(group(1, *ANY))
    wait_until("it ends with the rule that let it in", lambda: "silent" in talk.output[mark:], 20)
    rig.want(EVERYBODY)
    talk = Workload("beyond", b.vif, rig.host).talk(FLOATING, 82)
    rig.pause()
    rig.want(
        routed(2, EVERYBODY.group_id),
        routed(
            1, EVERYBODY.group_id, floating=(Standing(FLOATING, "10.0.0.1"),), routes=("10.0.0.1/32", f"{FLOATING}/32")
        ),
    )
    rig.start()
    mark = len(talk.output)
    wait_until("another has it since", lambda: not talk.alive or "silent" in talk.output[mark:], 20)
    assert ask(rig, "beyond", FLOATING, 80) == BEYOND
    rig.want(routed(1, EVERYBODY.group_id))
    assert ask(rig, "beyond", FLOATING, 80, 0.4) != BEYOND
    assert ask(rig, "b", BEYOND, 7000) == WAN
    assert rig.host.run(["ip", "route", "show", FLOATING]).out == ""


def test_the_host_publishes_ports_of_routed_ones_to_others_to_itself_and_to_them(rig: Rig) -> None:
    start(rig)
    translated = ("10.0.0.0/24", "2001:db8::/64")
    rig.want(WEB, SECRET, Space(1500, ipv6=True, way_out=True, masquerade=translated, known=translated))
    assert ask(rig, "a", BEYOND6, 7000) == WAN6
    expected = {
        ("beyond", WAN, 8080): BEYOND,
        ("beyond", WAN6, 8080): BEYOND6,
        ("a", WAN6, 8080): WAN6,
        ("", "127.0.0.1", 8080): WAN,
        ("", WAN, 8080): WAN,
        ("a", WAN, 8080): WAN,
        ("b", WAN, 8080): WAN,
        ("", "127.0.0.1", 9000): WAN,
    }
    assert {asked: ask(rig, *asked) for asked in expected} == expected
    rig.host.run(["ip", "-n", "beyond", "route", "add", "10.0.0.0/24", "via", WAN])
    assert ask(rig, "beyond", "10.0.0.2", 81, 0.4) == SILENCE, "what is published at 127.0.0.1 is for nobody else"
    assert ask(rig, "beyond", "10.0.0.2", 80) == BEYOND
    rig.host.run(["nft", "flush", "chain", "inet", "portico", "published"])
    wait_until("it is mended", lambda: ask(rig, "beyond", WAN, 8080, 1) == BEYOND, 20)
    rig.want(Space(1500, ipv6=True), gone=[WEB, SECRET])
    assert rig.host.run(["nft", "list", "tables"]).out == ""
    assert ask(rig, "a", BEYOND, 7000) == "10.0.0.1", "its own address, for nothing is translated any more"
