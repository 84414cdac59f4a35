# SPDX-License-Identifier: Apache-2.0
"""External networks of type `host` on the real kernel: the way out, published ports, Docker's firewall, strangers."""

from __future__ import annotations

import shlex
import socket
import sys

import msgspec
import pytest

from portico.agent import owner
from portico.hoststate import Guard, Publish, Source, Target, Uplink
from portico.testing import frames
from portico.testing.lab import wait_until
from portico.testing.rig import ANY, NET_A, Rig, Workload, group, network, port

from .test_gateways import got, sctp

pytestmark = pytest.mark.lab

WAN, BEYOND = "198.51.100.1", "198.51.100.2"
WAN6, BEYOND6 = "2001:db8:1::1", "2001:db8:1::2"
INSIDE, INSIDE6 = "100.64.0.5", "fd00:64::5"
LINK = owner.uplink_host_link(NET_A)
UPLINK = Uplink(NET_A, 1450, ("100.64.0.1/24", "fd00:64::1/64"), ("100.64.0.0/24", "fc00::/7"))
WEB = Publish(
    "web", NET_A, "tcp", ("0.0.0.0", "::"), (8080, 8081), (Target(INSIDE, (8080, 8081)), Target(INSIDE6, (80, 81)))
)
NAMES = Publish("names", NET_A, "udp", ("0.0.0.0",), (5353, 5353), (Target(INSIDE, (53, 53)),))
SIGNALS = Publish("signals", NET_A, "sctp", ("0.0.0.0",), (9899, 9899), (Target(INSIDE, (9900, 9900)),))
SECRET = Publish("secret", NET_A, "tcp", ("127.0.0.1",), (9000, 9000), (Target(INSIDE, (9000, 9000)),))

NO_ANSWER_S, SILENCE = 0.5, "TimeoutError"

# Tells everybody who connects or sends their own address, by which port.
_TELL = """
import selectors, socket, sys
every = selectors.DefaultSelector()
for protocol, address, port in (word.split(",") for word in sys.argv[1:]):
    kind = (socket.SOCK_DGRAM, 0) if protocol == "udp" else (socket.SOCK_STREAM, 132 if protocol == "sctp" else 0)
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, *kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, int(port)))
    if protocol != "udp":
        s.listen()
    every.register(s, selectors.EVENT_READ, (protocol, port))
print("telling", flush=True)
while True:
    for key, _ in every.select():
        protocol, port = key.data
        if protocol != "udp":
            c, peer = key.fileobj.accept()
            c.sendall(f"{peer[0]} {port}".encode())
            c.close()
        else:
            _, peer = key.fileobj.recvfrom(100)
            key.fileobj.sendto(f"{peer[0]} {port}".encode(), peer)
"""
_ASK = """
import socket, sys
protocol, address, port, within_s = sys.argv[1:]
kind = (socket.SOCK_DGRAM, 0) if protocol == "udp" else (socket.SOCK_STREAM, 132 if protocol == "sctp" else 0)
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, *kind)
s.settimeout(float(within_s))
try:
    s.connect((address, int(port)))
    if protocol == "udp":
        s.send(b"x")
    print(s.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""
_HEAR = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", int(sys.argv[1])))
print("hearing", flush=True)
while True:
    print(s.recv(100).decode(), flush=True)
"""


def ask(rig: Rig, where: str, protocol: str, address: str, number: int, within_s: float = 10) -> str:
    """Return what is told of who asks from a namespace of the host ("" for its own): address and port, or an error."""
    there = ["ip", "netns", "exec", where] if where else []
    argv = [*there, sys.executable, "-I", "-S", "-c", _ASK, protocol, address, str(number), str(within_s)]
    return rig.host.run(argv).out.strip()


def start(rig: Rig, *items: Publish) -> Workload:
    """Start an agent, something beyond the host, and a workload on the network."""
    run = rig.host.run
    run(["ip", "netns", "add", "beyond"])
    run(["ip", "link", "add", "wan", "type", "veth", "peer", "name", "eth0", "netns", "beyond"])
    for there, name, addresses in (([], "wan", (WAN, WAN6)), (["-n", "beyond"], "eth0", (BEYOND, BEYOND6))):
        run(["ip", *there, "link", "set", name, "up"])
        for address in addresses:
            length, flags = ("/64", ["nodad"]) if ":" in address else ("/24", [])
            run(["ip", *there, "addr", "add", f"{address}{length}", "dev", name, *flags])
    run(["ip", "-n", "beyond", "route", "add", "100.64.0.0/24", "via", WAN])
    vif = port(1, guard=None)
    rig.want(network(), UPLINK, vif, *items)
    rig.start()
    inside = rig.plug("inside", vif, f"{INSIDE}/24", f"{INSIDE6}/64")
    inside.run("ip", "route", "add", "default", "via", "100.64.0.1")
    inside.run("ip", "-6", "route", "add", "default", "via", "fd00:64::1")
    ports = [("tcp", number) for number in (80, 81, 8080, 8081, 9000)] + [("udp", 53)]
    served = [f"{protocol},::,{number}" for protocol, number in ports]
    inside.python(_TELL, *served).wait_for_text("telling", 20)
    rig.host.spawn(
        ["ip", "netns", "exec", "beyond", sys.executable, "-I", "-S", "-u", "-c", _TELL, "tcp,::,7000"], log="beyond"
    ).wait_for_text("telling", 20)
    return inside


def heard(text: str) -> str:
    """Return an answer without the prefix of IPv4 addresses that a socket of both versions tells."""
    return text.replace("::ffff:", "")


def test_a_network_reaches_the_world_as_the_host_and_the_world_its_published_ports(rig: Rig) -> None:
    inside = start(rig, WEB, NAMES, SECRET)
    expected = {
        ("inside", "tcp", BEYOND, 7000): f"{WAN} 7000",
        ("inside", "tcp", BEYOND6, 7000): f"{WAN6} 7000",
        ("beyond", "tcp", WAN, 8080): f"{BEYOND} 8080",
        ("beyond", "tcp", WAN, 8081): f"{BEYOND} 8081",
        ("beyond", "tcp", WAN6, 8081): f"{BEYOND6} 81",
        ("beyond", "udp", WAN, 5353): f"{BEYOND} 53",
        ("", "tcp", "127.0.0.1", 8080): "100.64.0.1 8080",
        ("", "tcp", WAN, 8080): f"{WAN} 8080",
        ("", "udp", "127.0.0.1", 5353): "100.64.0.1 53",
        ("inside", "tcp", WAN, 8080): "100.64.0.1 8080",
        ("", "tcp", "127.0.0.1", 9000): "100.64.0.1 9000",
        ("beyond", "tcp", WAN, 9000): "ConnectionRefusedError",
        ("beyond", "tcp", INSIDE, 9000): SILENCE,
        ("beyond", "tcp", INSIDE, 80): f"{BEYOND} 80",
    }
    told = {
        question: heard(ask(rig, *question, within_s=NO_ANSWER_S if answer == SILENCE else 10))
        for question, answer in expected.items()
    }
    assert told == expected
    _nobody_there_reaches_the_hosts_loopback(rig, inside)


def _nobody_there_reaches_the_hosts_loopback(rig: Rig, inside: Workload) -> None:
    rig.host.spawn([sys.executable, "-I", "-S", "-u", "-c", _TELL, "tcp,127.0.0.1,7001"], log="loopback").wait_for_text(
        "telling", 10
    )
    inside.run("ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
    inside.run("ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local", check=False)
    inside.run("ip", "route", "add", "127.0.0.1", "via", "100.64.0.1", "src", INSIDE)
    inside.run("sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
    assert ask(rig, "", "tcp", "127.0.0.1", 7001) == "127.0.0.1 7001"
    assert ask(rig, "inside", "tcp", "127.0.0.1", 7001, NO_ANSWER_S) == SILENCE
    _nor_behind_tags_that_the_host_takes_off(rig, inside)
    nft = ["ip", "netns", "exec", "portico", "nft"]
    rules = rig.host.run([*nft, "-a", "list", "chain", "bridge", "portico", "to_host"]).out
    handle = next(line.rpartition(" ")[2] for line in rules.splitlines() if "ip daddr 127.0.0.0/8" in line)
    rig.pause()
    rig.host.run([*nft, "delete", "rule", "bridge", "portico", "to_host", "handle", handle])
    assert ask(rig, "inside", "tcp", "127.0.0.1", 7001) == f"{INSIDE} 7001", "it is this rule that keeps them away"


def _nor_behind_tags_that_the_host_takes_off(rig: Rig, inside: Workload) -> None:
    """Send datagrams from and to such addresses behind tags of VLAN 0, and then one that the host is to hear."""
    listener = rig.host.spawn([sys.executable, "-I", "-S", "-u", "-c", _HEAR, "7002"], log="tagged")
    listener.wait_for_text("hearing", 10)
    several = [(frames.VLAN,) * 2, (frames.VLAN, frames.OUTER_VLAN), (frames.OUTER_VLAN,) * 2, (frames.VLAN,) * 3]
    wrong = [(INSIDE, "127.0.0.1"), ("127.0.0.9", "100.64.0.1")]
    given = [(*pair, kinds) for pair in wrong for kinds in [(), (frames.VLAN,), (frames.OUTER_VLAN,), *several]]
    host, sent = mac_of(rig, LINK), []
    for number, (source, destination, kinds) in enumerate([*given, (INSIDE, "100.64.0.1", (frames.VLAN,))]):
        datagram = frames.udp(7003, 7002, f"datagram {number}".encode())
        packet = frames.ipv4(source, destination, frames.UDP, datagram)
        frame = frames.ethernet(host, inside.vif.mac, frames.IPV4, packet)
        for kind in kinds:
            frame = frames.tagged(0, frame, kind)
        sent.append(frame)
    inside.send(*sent)
    last = f"datagram {len(given)}"
    listener.wait_for_text(last, 10)
    assert listener.output.splitlines() == ["hearing", last]


def mac_of(rig: Rig, link: str) -> str:
    return rig.host.run(["cat", f"/sys/class/net/{link}/address"]).out.strip()


def test_sctp_is_published_as_well(rig: Rig) -> None:
    inside = start(rig, SIGNALS)
    rig.wait_status(SIGNALS.key, "active")
    if _has_sctp():
        _sctp_sockets(rig, inside)
    else:
        _sctp_packets(rig, inside)


def _sctp_packets(rig: Rig, inside: Workload) -> None:
    """Send them by hand: a kernel with such sockets would answer as well."""
    beyond = Workload("beyond", inside.vif, rig.host)
    outer, inner = beyond.sniff(), inside.sniff()
    for workload, link, source, seen in ((beyond, "wan", BEYOND, BEYOND), (inside, LINK, INSIDE, "100.64.0.1")):
        back, packet = mac_of(rig, link), sctp(source, WAN, (7000, 9899))
        workload.send(frames.ethernet(back, inside.vif.mac, frames.IPV4, packet))
        got(inner, seen, INSIDE, (7000, 9900))
        answer = sctp(INSIDE, seen, (9900, 7000), answer=True)
        inside.send(frames.ethernet(mac_of(rig, LINK), inside.vif.mac, frames.IPV4, answer))
        got(outer if workload is beyond else inner, WAN, source, (9899, 7000))


def _has_sctp() -> bool:
    """Tell whether the kernel has sockets of SCTP."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        return False
    return True


def _sctp_sockets(rig: Rig, inside: Workload) -> None:
    inside.python(_TELL, "sctp,0.0.0.0,9900").wait_for_text("telling", 20)
    assert ask(rig, "beyond", "sctp", WAN, 9899) == f"{BEYOND} 9900"
    assert ask(rig, "", "sctp", "127.0.0.1", 9899) == ask(rig, "inside", "sctp", WAN, 9899) == "100.64.0.1 9900"
    holder = rig.host.spawn([sys.executable, "-I", "-S", "-u", "-c", _TELL, "sctp,0.0.0.0,9901"], log="holder")
    holder.wait_for_text("telling", 20)
    rig.want(msgspec.structs.replace(SIGNALS, forwarding_id="again", ports=(9901, 9901)))
    assert rig.statuses()["publish/again"].reason == "a program on the host uses sctp port 9901 of address 0.0.0.0"


def test_a_firewall_of_dockers_lets_it_pass_where_its_user_does(rig: Rig) -> None:
    run, user = rig.host.run, "-p tcp -m tcp --dport 8081 -j DROP"
    for words in ("-N DOCKER-USER", f"-A DOCKER-USER {user}", "-A DOCKER-USER -j RETURN",
                  "-A FORWARD -j DOCKER-USER", "-P FORWARD DROP"):  # fmt: skip
        run(["iptables", *words.split()])
    start(rig, WEB)
    rig.wait_status(UPLINK.key, "active")
    assert heard(ask(rig, "beyond", "tcp", WAN, 8080)) == f"{BEYOND} 8080"
    assert ask(rig, "inside", "tcp", BEYOND, 7000) == f"::ffff:{WAN} 7000"
    assert ask(rig, "beyond", "tcp", WAN, 8081, NO_ANSWER_S) == SILENCE, "the user's own rules hold"
    mine = _of_docker(rig)
    told = "no packet comes to the one with the comment, which costs as much as a rule"
    assert [(" -i " in line, " -o " in line) for line in mine] == [(False, True), (True, False), (True, True)], told
    for line in mine[:2]:
        run(["iptables", *shlex.split(line.replace("-A", "-D", 1))])
        wait_until("a rule that a stranger took away", lambda: _of_docker(rig) == mine, 10)
    older = ("-I", "DOCKER-USER", "-i", LINK, "-m", "comment", "--comment", f"portico:{NET_A} uplink portico")
    run(["iptables", *older, "-j", "ACCEPT"])
    wait_until("a rule as older agents made them is taken away", lambda: _of_docker(rig) == mine, 10)
    run(["iptables", *shlex.split(mine[1].replace("-A", "-I", 1))])
    rig.pause()
    purged = run([sys.executable, "-m", "portico.cli", "agent", "--purge"]).out
    assert "nft table inet portico" in purged and f"rules of network {NET_A} in chain DOCKER-USER" in purged
    assert LINK not in run(["ip", "link"]).out and "inet" not in run(["nft", "list", "tables"]).out
    left = run(["iptables", "-S", "DOCKER-USER"]).out.splitlines()
    assert left == ["-N DOCKER-USER", f"-A DOCKER-USER {user}", mine[1], "-A DOCKER-USER -j RETURN"], "one was a user's"


def _of_docker(rig: Rig) -> list[str]:
    return [line for line in rig.host.run(["iptables", "-S", "DOCKER-USER"]).out.splitlines() if LINK in line]


def test_it_is_mended_taken_over_and_removed(rig: Rig) -> None:
    inside = start(rig, WEB)
    run = rig.host.run
    for break_it in ("nft delete table inet portico", "nft flush table inet portico", f"ip link del {LINK}",
                     f"ip addr del 100.64.0.1/24 dev {LINK}"):  # fmt: skip
        run(break_it.split())
        if "addr" in break_it:  # nobody tells of that: the next full comparison finds it
            rig.want(NAMES)
        wait_until(break_it, lambda: heard(ask(rig, "beyond", "tcp", WAN, 8080, NO_ANSWER_S)) == f"{BEYOND} 8080", 15)
    links, rules = run(["ip", "-o", "link", "show", LINK]).out, run(["nft", "list", "table", "inet", "portico"]).out
    rig.pause()
    assert inside.pings(BEYOND), "it needs no agent"
    del rig.objects[WEB.key]
    rig.objects[NAMES.key] = NAMES
    rig.start()
    assert run(["ip", "-o", "link", "show", LINK]).out == links
    assert 'comment "publish/names' in run(["nft", "list", "table", "inet", "portico"]).out
    assert "publish/web" in rules and "publish/web" not in run(["nft", "list", "table", "inet", "portico"]).out
    rig.want(gone=(UPLINK, NAMES))
    assert LINK not in run(["ip", "link"]).out
    assert "portico" not in run(["nft", "list", "tables"]).out


def test_a_port_that_somebody_has_is_told_and_not_taken(rig: Rig) -> None:
    holder = rig.host.spawn([sys.executable, "-I", "-S", "-u", "-c", _TELL, "tcp,0.0.0.0,8081"], log="holder")
    holder.wait_for_text("telling", 20)
    start(rig, WEB, NAMES)
    status = rig.wait_status(WEB.key, "error")
    assert status.reason == "a program on the host uses tcp port 8081 of address 0.0.0.0"
    assert ask(rig, "beyond", "tcp", WAN, 8081) == f"{BEYOND} 8081", "the program has it"
    again = Publish("again", NET_A, "udp", ("127.0.0.1",), (5300, 5400), (Target(INSIDE, (53, 153)),))
    elsewhere = Publish("other", NET_A, "udp", ("192.0.2.77",), (5500, 5500), (Target(INSIDE, (53, 53)),))
    rig.want(again, elsewhere)
    assert rig.statuses()[again.key].reason == (
        "udp port 5300 to 5400 of the host is published for port forwarding names already"
    )
    assert rig.statuses()[elsewhere.key].reason == "the host does not have address 192.0.2.77"
    rig.want(gone=(NAMES,))
    assert rig.statuses()[again.key].state == "active"
    holder.kill()
    rig.wait_status(WEB.key, "active", 15)
    assert heard(ask(rig, "beyond", "tcp", WAN, 8081)) == f"{BEYOND} 8081"


def test_a_port_on_the_network_itself_is_filtered_by_connections(rig: Rig) -> None:
    rig.want(network(), UPLINK)
    rig.start()
    silent = group(1, *ANY)
    vif = port(1)
    vif = msgspec.structs.replace(vif, guard=Guard((Source(vif.mac, f"{INSIDE}/32"),), (silent.group_id,)))
    rig.want(silent, vif)
    inside = rig.plug("inside", vif, f"{INSIDE}/24")
    assert inside.pings("100.64.0.1", count=5), "the answers belong to what it asked"
    assert not rig.host.run(["ping", "-c", "2", "-i", "0.1", "-W", "0.4", INSIDE], check=False).ok
