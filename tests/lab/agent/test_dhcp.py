# SPDX-License-Identifier: Apache-2.0
"""DHCP, names and router advertisements, asked for by real clients."""

from __future__ import annotations

import re
import socket
import struct
import sys
import time
from ipaddress import IPv6Network
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from portico.hoststate import Dhcp, DhcpOption, DhcpSubnet, Guard, Lease, Route, Rule, Source, Vif
from portico.rules.fixed_ip import eui64
from portico.testing.lab import Process, wait_until
from portico.testing.rig import ANY, NET_A, Rig, Workload, group, network, port

pytestmark = pytest.mark.lab

PID = "/run/portico/dhcp/portico/aaaaaaaa-00/pid"
NETNS = "portico-dhcp-aaaaaaaa-00"
SCRIPT = "/run/script"
SERVER_MAC = "00:00:5e:00:53:fa"

ASK_NAME = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.sendto(bytes.fromhex(sys.argv[2]), (sys.argv[1], 53))
print(s.recv(2000).hex())
"""

# A DHCPv6 client: Solicit with the link-layer address as identity, Request what was advertised; prints both answers.
# It waits for each as long as it is told.
ASK_DHCPV6 = """
import socket, struct, sys
mac = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(float(sys.argv[1]))
s.bind(("::", 546))
scope = socket.if_nametoindex("eth0")
option = lambda kind, body: struct.pack("!HH", kind, len(body)) + body
mine = option(1, struct.pack("!HH", 3, 1) + mac) + option(8, bytes(2)) + option(6, struct.pack("!HH", 23, 59))
def ask(kind, more):
    s.sendto(bytes([kind, 1, 2, 3]) + mine + more, ("ff02::1:2", 547, 0, scope))
    return s.recv(2000)
wanted = option(3, struct.pack("!III", 7, 0, 0))
answer = ask(11 if sys.argv[2:] else 1, b"" if sys.argv[2:] else wanted)
print(answer.hex())
if not sys.argv[2:]:
    at, server = 4, b""
    while at < len(answer):
        kind, length = struct.unpack_from("!HH", answer, at)
        if kind == 2:
            server = answer[at : at + 4 + length]
        at += 4 + length
    print(ask(3, server + wanted).hex())
"""

Mode = Literal["dhcpv4", "slaac", "dhcpv6-stateful", "dhcpv6-stateless"]


def subnet4(**options: object) -> DhcpSubnet:
    return DhcpSubnet("s4", "10.0.0.0/24", "10.0.0.250", "dhcpv4", **options)  # type: ignore[arg-type]


def subnet6(mode: Mode, **options: object) -> DhcpSubnet:
    return DhcpSubnet("s6", "2001:db8::/64", "2001:db8::fa", mode, **options)  # type: ignore[arg-type]


def server(*subnets: DhcpSubnet) -> Dhcp:
    return Dhcp(NET_A, "port", SERVER_MAC, 1450, "lab.example", subnets)


def lease(vif: Vif, number: int, name: str, *options: DhcpOption, serve: bool = True) -> Lease:
    addresses = (f"10.0.0.{number}", f"2001:db8::{number:x}")
    return Lease(NET_A, vif.port_id, vif.mac, addresses, name, options, serve)


def begin(rig: Rig, *subnets: DhcpSubnet, options: tuple[DhcpOption, ...] = ()) -> tuple[Workload, Workload]:
    """Start with two ports, of which the server knows both but serves only the first."""
    asking = group(1, *ANY)
    a, b = port(1, asking.group_id), port(2, asking.group_id)
    rig.want(network(), asking, a, b, server(*subnets), lease(a, 1, "one", *options), lease(b, 2, "two", serve=False))
    rig.start()
    assert rig.statuses()[f"dhcp/{NET_A}"].state == "active"
    rig.host.path(SCRIPT).write_text("#!/bin/sh\necho EVENT $1; set\n")
    rig.host.run(["chmod", "+x", SCRIPT])
    return rig.plug("a", a), rig.plug("b", b)


def udhcpc(workload: Workload, *wanted: str, tries: int = 10) -> dict[str, str]:
    """Run a client, which asks each second; return what it was told, empty if nothing."""
    more = [word for name in wanted for word in ("-O", name)]
    argv = ["busybox", "udhcpc", "-f", "-n", "-q", "-i", "eth0", "-s", SCRIPT, "-t", str(tries), "-T", "1", *more]
    result = workload.run(*argv, check=False)
    told = result.out.partition("EVENT bound")[2]
    return dict(re.findall(r"^([a-z0-9_]+)='?(.*?)'?$", told, re.MULTILINE))


def gets_nothing(workload: Workload) -> bool:
    """Return whether a client that asks twice is told nothing."""
    return udhcpc(workload, tries=2) == {}


def ask_dhcpv6(workload: Workload, *words: str, patience_s: float = 10) -> list[bytes]:
    """Solicit and request an address, or ask for "information" alone; return the answers, none if there is no first."""
    argv = (sys.executable, "-I", "-S", "-c", ASK_DHCPV6, str(patience_s), *words)
    return [bytes.fromhex(answer) for answer in workload.run(*argv, check=False).out.split()]


def dhcpv6(workload: Workload) -> bytes:
    """Solicit and request an address once; return the reply."""
    return ask_dhcpv6(workload)[1]


def name_query(name: str, kind: int) -> str:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return (struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)).hex()


def asked(workload: Workload, name: str, kind: int) -> bytes:
    argv = (sys.executable, "-I", "-S", "-c", ASK_NAME, "10.0.0.250", name_query(name, kind))
    return bytes.fromhex(workload.run(*argv).out.strip())


def test_a_known_port_gets_its_address_with_mtu_routes_names_and_no_router(rig: Rig) -> None:
    a, b = begin(rig, subnet4(routes=(Route("192.0.2.0/24", "10.0.0.9"),)))
    told = udhcpc(a, "mtu", "staticroutes")
    assert told["ip"] == "10.0.0.1" and told["mask"] == "24" and told["serverid"] == "10.0.0.250"
    assert told["mtu"] == "1450" and told["domain"] == "lab.example" and told["hostname"] == "one"
    assert told["staticroutes"] == "192.0.2.0/24 10.0.0.9"
    assert told["dns"] == "10.0.0.250"
    assert "router" not in told
    assert gets_nothing(b)  # this server does not serve it


def test_gateway_name_servers_and_options_of_a_port_are_told(rig: Rig) -> None:
    routes = (Route("192.0.2.0/24", "10.0.0.9"),)
    options = (DhcpOption("bootfile-name", "kernel"), DhcpOption("66", "10.0.0.77"))
    subnet = subnet4(gateway="10.0.0.254", dns_servers=("192.0.2.53", "192.0.2.54"), routes=routes)
    a, _ = begin(rig, subnet, options=options)
    told = udhcpc(a, "staticroutes", "bootfile", "tftp")
    assert told["router"] == "10.0.0.254"
    assert told["dns"] == "192.0.2.53 192.0.2.54"
    assert told["staticroutes"] == "192.0.2.0/24 10.0.0.9 0.0.0.0/0 10.0.0.254"
    assert told["tftp"] == "10.0.0.77"
    assert "kernel" in (told.get("bootfile", ""), told.get("boot_file", ""))


def test_a_lease_that_comes_or_goes_needs_no_restart(rig: Rig) -> None:
    _, b = begin(rig, subnet4())
    before = rig.host.path(PID).read_text()
    rig.want(lease(b.vif, 2, "two"))
    assert udhcpc(b)["ip"] == "10.0.0.2"
    rig.want(gone=[lease(b.vif, 2, "two")])
    assert gets_nothing(b)
    assert rig.host.path(PID).read_text() == before


def test_an_address_that_another_port_had_leased_is_given_to_the_port_that_has_it_now(rig: Rig) -> None:
    a, b = begin(rig, subnet4(), subnet6("dhcpv6-stateful"))
    for workload in (a, b):
        wait_for_link_local(workload)
    assert udhcpc(a)["ip"] == "10.0.0.1" and dhcpv6(a)[:1] == b"\7"
    six = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    assert six in dhcpv6(a)
    rig.want(gone=[lease(a.vif, 1, "one")])
    rig.want(lease(b.vif, 1, "two"))
    assert udhcpc(b)["ip"] == "10.0.0.1"
    assert six in dhcpv6(b)
    assert gets_nothing(a)


def test_names_of_all_ports_are_answered_and_nothing_else(rig: Rig) -> None:
    a, _ = begin(rig, subnet4(), subnet6("dhcpv6-stateful"))
    udhcpc(a)
    a.run("ip", "addr", "add", "10.0.0.1/24", "dev", "eth0")
    assert socket.inet_aton("10.0.0.2") in asked(a, "two.lab.example", 1)
    assert socket.inet_pton(socket.AF_INET6, "2001:db8::2") in asked(a, "two.lab.example", 28)
    assert b"\3two\3lab\7example" in asked(a, "2.0.0.10.in-addr.arpa", 12)
    refused = asked(a, "www.example.com", 1)
    assert refused[3] & 15 == 5 and struct.unpack_from("!H", refused, 6) == (0,)


def test_dhcpv6_gives_a_known_port_its_address(rig: Rig) -> None:
    a, b = begin(rig, subnet6("dhcpv6-stateful", dns_servers=("2001:db8::53",)))
    wait_for_link_local(a)
    answer = dhcpv6(a)
    assert answer[0] == 7
    assert socket.inet_pton(socket.AF_INET6, "2001:db8::1") in answer
    assert socket.inet_pton(socket.AF_INET6, "2001:db8::53") in answer
    wait_for_link_local(b)
    assert socket.inet_pton(socket.AF_INET6, "2001:db8::2") not in b"".join(ask_dhcpv6(b, patience_s=1))


def test_stateless_dhcpv6_tells_name_servers_only(rig: Rig) -> None:
    a, _ = begin(rig, subnet6("dhcpv6-stateless", advertise=True, dns_servers=("2001:db8::53",)))
    wait_for_link_local(a)
    [answer] = ask_dhcpv6(a, "information")
    assert socket.inet_pton(socket.AF_INET6, "2001:db8::53") in answer
    shown = a.run("rdisc6", "-1", "-w", "10000", "eth0").out
    assert flag(shown, "Stateful address conf.") == "No" and flag(shown, "Stateful other conf.") == "Yes"


@pytest.mark.parametrize(("mode", "autonomous", "stateful"), [("slaac", "Yes", "No"), ("dhcpv6-stateful", "No", "Yes")])
def test_router_advertisements_tell_prefix_and_mtu_but_no_router(
    rig: Rig, mode: Mode, autonomous: str, stateful: str
) -> None:
    a, _ = begin(rig, subnet6(mode, advertise=True))
    wait_for_link_local(a)
    shown = a.run("rdisc6", "-1", "-w", "10000", "eth0").out
    assert "Prefix                   : 2001:db8::/64" in shown
    assert flag(shown, "Autonomous address conf.") == autonomous
    assert flag(shown, "Stateful address conf.") == stateful
    assert "Router lifetime           :            0" in shown
    assert re.search(r"MTU +: +1450", shown)


def test_hosts_make_up_the_addresses_that_the_api_gave_their_ports_and_may_use_no_other(rig: Rig) -> None:
    everybody = group(1, *ANY, Rule("ingress", "IPv6"))

    def guarded(number: int) -> tuple[Vif, str]:
        vif = port(number)
        made = str(eui64(IPv6Network("2001:db8::/64"), vif.mac))
        guard = Guard((Source(vif.mac, f"{made}/128"),), (everybody.group_id,))
        return msgspec.structs.replace(vif, guard=guard), made

    def plug(name: str, vif: Vif, address: str) -> Workload:
        workload = rig.plug(name, vif)
        shown = ("ip", "-6", "addr", "show", "dev", "eth0", "scope", "global", "-tentative")
        wait_until("an address of its own", lambda: f" {address}/64 " in workload.run(*shown).out, 20)
        return workload

    (a, six), (b, other) = guarded(1), guarded(2)
    rig.want(network(), everybody, a, b, server(subnet6("slaac", advertise=True)))
    rig.start()
    wa, wb = plug("a", a, six), plug("b", b, other)
    assert wa.pings(other) and wb.pings(six)
    wa.run("ip", "addr", "add", "2001:db8::77/64", "dev", "eth0", "nodad")
    assert not wa.run("ping", "-c", "2", "-i", "0.1", "-W", "0.4", "-I", "2001:db8::77", other, check=False).ok


def test_without_advertise_nothing_is_advertised(rig: Rig) -> None:
    a, _ = begin(rig, subnet4(), subnet6("dhcpv6-stateful"))
    wait_for_link_local(a)
    assert "Prefix" not in a.run("rdisc6", "-1", "-w", "500", "-r", "1", "eth0", check=False).out


def test_the_server_outlives_the_agent_with_its_leases_and_is_found_again(rig: Rig) -> None:
    a, _ = begin(rig, subnet4())
    assert udhcpc(a)["ip"] == "10.0.0.1"
    before = rig.host.path(PID).read_text()
    rig.pause()
    rig.start()
    assert rig.host.path(PID).read_text() == before
    assert "10.0.0.1" in rig.host.path("/var/lib/portico/dhcp/portico/aaaaaaaa-00/leases").read_text()
    assert udhcpc(a)["ip"] == "10.0.0.1"


def test_a_server_that_dies_is_back_at_once_and_keeps_its_leases(rig: Rig) -> None:
    a, _ = begin(rig, subnet4(), subnet6("dhcpv6-stateful"))
    wait_for_link_local(a)
    assert udhcpc(a)["ip"] == "10.0.0.1"
    six, leases = dhcpv6(a), rig.host.path("/var/lib/portico/dhcp/portico/aaaaaaaa-00/leases")

    def leased() -> set[str]:
        return {words[2] for line in leases.read_text().splitlines() if len(words := line.split()) > 2}

    both = {"10.0.0.1", "2001:db8::1"}
    # the server answers first, and empties the file before it writes it anew
    wait_until("both leases are written down", lambda: leased() == both, 10, leases.read_text)
    took_s = []
    for _ in range(3):
        old, began = rig.host.path(PID).read_text(), time.monotonic()
        rig.host.run(["kill", "-9", old.strip()])
        gone = ("", old)
        wait_until("a new server", lambda: rig.host.path(PID).read_text() not in gone, 20)  # noqa: B023 (not kept)
        took_s.append(time.monotonic() - began)
    assert min(took_s) < 2, "others may keep the machine busy once, not each time"
    wait_until("both leases are still there", lambda: leased() == both, 10, leases.read_text)
    assert udhcpc(a)["ip"] == "10.0.0.1"
    assert socket.inet_pton(socket.AF_INET6, "2001:db8::1") in six and six[4:] == dhcpv6(a)[4:]


def test_a_changed_subnet_is_served_and_an_unwanted_server_goes(rig: Rig) -> None:
    a, _ = begin(rig, subnet4())
    rig.want(server(subnet4(gateway="10.0.0.254")))
    assert udhcpc(a)["router"] == "10.0.0.254"
    pid = int(rig.host.path(PID).read_text())
    rig.want(gone=[server(subnet4())])
    assert not rig.host.run(["kill", "-0", str(pid)], check=False).ok
    assert "dhcp" not in rig.host.run(["ip", "netns"]).out
    assert not rig.host.path(PID).exists()


def test_the_server_runs_without_root_and_is_small(rig: Rig) -> None:
    begin(rig, subnet4(), subnet6("dhcpv6-stateful", advertise=True))
    pid = int(rig.host.path(PID).read_text())
    status = rig.host.path(f"/proc/{pid}/status").read_text()
    assert re.search(r"^Uid:\s+65534\s", status, re.MULTILINE)
    rss = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert rss and int(rss[1]) < 4096


def test_a_namespace_that_lost_its_name_is_made_anew_and_its_server_ended(rig: Rig) -> None:
    a, _ = begin(rig, subnet4())
    before = rig.host.path(PID).read_text().strip()
    rig.host.run(["ip", "netns", "del", NETNS])
    rig.want(group(2))  # everything is compared
    assert rig.statuses()[f"dhcp/{NET_A}"].state == "active"
    assert not rig.host.run(["kill", "-0", before], check=False).ok
    assert NETNS in rig.host.run(["ip", "netns"]).out
    assert udhcpc(a)["ip"] == "10.0.0.1"


def test_purge_ends_a_server_whose_namespace_and_pid_file_are_gone_and_no_other(rig: Rig) -> None:
    begin(rig, subnet4())
    before = rig.host.path(PID).read_text().strip()
    rig.pause()
    rig.host.run(["ip", "netns", "del", NETNS])
    rig.host.path(PID).unlink()
    other = rig.host.spawn(["dnsmasq", "-k", "--conf-file=/dev/null", "--port=5353", "--pid-file="], log="other")
    shown = rig.host.run([sys.executable, "-m", "portico.cli", "agent", "--purge"]).out
    assert f"DHCP server {before}" in shown
    assert not rig.host.run(["kill", "-0", before], check=False).ok
    assert other.alive


def test_what_is_kept_of_a_network_outlives_a_reboot_only_while_it_is_wanted(rig: Rig) -> None:
    a, _ = begin(rig, subnet4())
    assert udhcpc(a)["ip"] == "10.0.0.1"
    rig.pause()
    rig.host.run(["kill", rig.host.path(PID).read_text().strip()])
    rig.host.run(["ip", "netns", "del", NETNS])
    rig.host.run(["ip", "netns", "del", "portico"])
    rig.host.run(["rm", "-r", "/run/portico"])
    kept = rig.host.path("/var/lib/portico/dhcp/portico")
    old = kept / "cccccccc-00"
    old.mkdir()
    (old / "leases").write_text("")
    rig.start()
    assert rig.statuses()[f"dhcp/{NET_A}"].state == "active"
    assert [path.name for path in kept.iterdir()] == ["aaaaaaaa-00"]
    assert "10.0.0.1" in (kept / "aaaaaaaa-00/leases").read_text()


def test_a_link_that_cannot_be_made_costs_nothing_however_often_it_is_tried(rig: Rig) -> None:
    wrong = msgspec.structs.replace(server(subnet4()), mac="01:00:00:00:00:01")  # a group's, which no link can have
    rig.want(network(), wrong)
    rig.start()
    assert rig.agent is not None
    assert rig.wait_status(f"dhcp/{NET_A}", "error").reason.startswith("DHCP server: ")
    before = descriptors(rig.agent)
    for number in range(5):
        rig.want(group(number))  # everything is compared
    assert descriptors(rig.agent) <= before


def descriptors(process: Process) -> int:
    return len([*Path(f"/proc/{process.pid}/fd").iterdir()])


def flag(shown: str, name: str) -> str:
    return shown.partition(name)[2].partition(":")[2].split()[0]


def wait_for_link_local(workload: Workload) -> None:
    wait_until(
        "a usable link-local address",
        lambda: (
            "tentative" not in (out := workload.run("ip", "-6", "addr", "show", "dev", "eth0").out) and "fe80" in out
        ),
        20,
    )
