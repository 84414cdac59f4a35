# SPDX-License-Identifier: Apache-2.0
"""BGP between hosts, and with speakers that are not BIRD: what they learn, and what survives what."""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from portico.hoststate import HostObject, Peer, Speaker
from portico.hoststate.speaker import SPEAKER_KEY
from portico.testing.bgp_peers import Frr, GoBgp
from portico.testing.lab import Lab, LabHost, wait_until
from portico.testing.rig import Rig

pytestmark = pytest.mark.lab

ASN, FRR_ASN, GOBGP_ASN = 65000, 4200000001, 65003
V4, V6 = "198.51.100.", "2001:db8:1ab::"
FOLDER = "/run/portico/bgp/portico"
PREFIXES = ("10.1.0.0/16", "10.2.0.0/16", "2001:db8:1::/64")
FRR = f"""
router bgp {FRR_ASN}
 bgp router-id {V4}4
 no bgp ebgp-requires-policy
 neighbor {V4}1 remote-as {ASN}
 neighbor {V4}1 password secret-word
 neighbor {V4}1 timers connect 1
 neighbor {V4}1 advertisement-interval 0
 neighbor {V4}1 bfd
 address-family ipv4 unicast
  network 203.0.113.0/24
  network 10.1.0.77/32
  neighbor {V4}1 default-originate
 exit-address-family
exit
bfd
 peer {V4}1
  receive-interval 100
  transmit-interval 100
"""
GOBGP = f"""
[global.config]
as = {GOBGP_ASN}
router-id = "{V4}5"
[[neighbors]]
[neighbors.config]
neighbor-address = "{V4}1"
peer-as = {ASN}
[neighbors.timers.config]
connect-retry = 1
"""
_NUMBERS = itertools.count(1)


def speaker(number: int, **options: object) -> Speaker:
    return Speaker(ASN, f"{V4}{number}", (f"{V4}{number}", f"{V6}{number}"), prefixes=PREFIXES, **options)  # type: ignore[arg-type]


def mesh(number: int) -> list[HostObject]:
    """Return what host `number` of three needs to know the others."""
    others = [other for other in (1, 2, 3) if other != number]
    return [speaker(number), *(Peer(f"{at}{other}", ASN) for other in others for at in (V4, V6))]


OUTSIDE = [
    Peer(
        f"{V4}4", FRR_ASN, "outside", direct=True, password="secret-word", announce=("10.1.0.0/16",),
        communities=(f"{ASN}:100", f"{FRR_ASN}:1:2"),
    ),
    Peer(f"{V4}5", GOBGP_ASN, "outside", direct=True, bfd=False, announce=("10.1.0.0/16",)),
]  # fmt: skip


class Fabric:
    """Three hosts in a full mesh, an FRR and a GoBGP outside, both peers of host 1."""

    def __init__(self, lab: Lab) -> None:
        hosts = [lab.host(name, underlay=True) for name in ("h1", "h2", "h3", "frr", "gobgp")]
        self.rigs = [Rig(host) for host in hosts[:3]]
        self.h1, self.h2, self.h3, self.outside, _ = hosts
        for number, rig in enumerate(self.rigs, 1):
            rig.want(*mesh(number), *(OUTSIDE if number == 1 else []))
            rig.start()
        self.outside.run(["ip", "route", "add", "blackhole", "203.0.113.0/24"])
        self.frr, self.gobgp = Frr(self.outside, FRR), GoBgp(hosts[4], GOBGP)

    def settle(self) -> None:
        """Wait until every session between hosts is up."""
        for host in (self.h1, self.h2, self.h3):
            wait_until("sessions", partial(_has_sessions, host, 4), 10, partial(birdc, host))


@pytest.fixture(scope="module")
def fabric() -> Iterator[Fabric]:
    with Lab() as lab:
        made = Fabric(lab)
        made.settle()
        yield made


@pytest.fixture
def address(fabric: Fabric) -> Iterator[str]:
    """An address on host 1 that is nobody else's."""
    text = f"10.2.0.{next(_NUMBERS)}"
    route(fabric.h1, "add", text)
    wait_until("the route", lambda: has(fabric.h2, text), 20, lambda: learnt(fabric.h2))
    yield text
    route(fabric.h1, "del", text)


def route(host: LabHost, action: str, address: str, link: str = "lo") -> None:
    """Do as the agent does for a port's address."""
    host.run(["ip", "route", action, address, "dev", link, "proto", "80"])


def learnt(host: LabHost, *options: str) -> str:
    return host.run(["ip", *options, "route", "show", "proto", "bird"]).out


def has(host: LabHost, address: str) -> bool:
    return f"{address} " in learnt(host, "-6" if ":" in address else "-4")


def birdc(host: LabHost, *command: str) -> str:
    return host.run(["birdc", "-s", f"{FOLDER}/bird.ctl", *(command or ("show", "protocols"))]).out


def pid(host: LabHost) -> str:
    return host.path(f"{FOLDER}/bird.pid").read_text().strip()


def user(host: LabHost) -> str:
    """Return whose process BIRD is; empty if there is none."""
    return host.run(["ps", "-o", "user=", "-p", pid(host)], check=False).out.strip()


def _has_sessions(host: LabHost, count: int) -> bool:
    return birdc(host).count("Established") >= count


def seconds_until(condition: Callable[[], bool]) -> float:
    began = time.monotonic()
    wait_until("it happens", condition, 20)
    return time.monotonic() - began


def test_a_route_is_in_another_hosts_kernel_at_once_and_gone_at_once(fabric: Fabric) -> None:
    """The median is below 30 ms on a quiet machine (`python -m bench routed`); other tests run beside this one."""
    events = fabric.h3.spawn(["ip", "monitor", "route"], log="routes")
    kernel = fabric.h1.popen(["ip", "-force", "-batch", "-"], stdin=-1, text=True)
    assert kernel.stdin
    took: dict[str, list[float]] = {"add": [], "del": []}
    time.sleep(0.3)
    for number, action in itertools.product(range(10), took):
        address = f"10.2.1.{number}"
        sought = f"Deleted {address} via" if action == "del" else f"\n{address} via"
        began = time.monotonic()
        kernel.stdin.write(f"route {action} {address} dev lo proto 80\n")
        kernel.stdin.flush()
        while sought not in f"\n{events.output}":
            assert time.monotonic() < began + 20, events.output
            time.sleep(0.001)
        took[action].append(time.monotonic() - began)
    kernel.stdin.close()
    events.kill()
    assert statistics.median(took["add"]) < 0.1 and statistics.median(took["del"]) < 0.1, took


def test_it_is_not_root_and_keeps_four_capabilities(fabric: Fabric) -> None:
    """It has to read its configuration and write its log, and nothing in the folder where the agent works as root."""
    host = fabric.h1
    status = host.run(["cat", f"/proc/{pid(host)}/status"]).out
    rows = dict(line.split(":\t", 1) for line in status.splitlines())
    uid, gid = (host.run(["id", option, "bird"]).out.strip() for option in ("-u", "-g"))
    assert rows["Uid"].split() == [uid] * 4 and rows["Gid"].split() == [gid] * 4 and not rows["Groups"].strip()
    # net_bind_service, net_broadcast, net_admin, net_raw of capabilities(7)
    assert {rows[name] for name in ("CapPrm", "CapEff")} == {f"{0b1111 << 10:016x}"}
    listed = host.run(["stat", "-c", "%A %U %G", FOLDER, f"{FOLDER}/bird.conf", f"{FOLDER}/log"]).out
    assert listed.splitlines() == ["drwxr-x--- root bird", "-rw-r----- root bird", "drwx------ bird bird"]
    assert "Started" in host.path(f"{FOLDER}/log/bird.log").read_text()


def test_ipv6_goes_the_same_way(fabric: Fabric) -> None:
    address = "2001:db8:1::7"
    route(fabric.h1, "add", address, "eth0")
    wait_until("the route", lambda: has(fabric.h2, address), 20)
    assert f"{address} via {V6}1 dev eth0" in learnt(fabric.h2, "-6")
    route(fabric.h1, "del", address, "eth0")
    wait_until("no route", lambda: not has(fabric.h2, address), 20)


def test_speakers_outside_learn_what_they_may_and_reach_the_workload(fabric: Fabric) -> None:
    h1, run = fabric.h1, fabric.h1.run
    run(["ip", "netns", "add", "workload"])
    run(["ip", "link", "add", "near", "type", "veth", "peer", "name", "eth0", "netns", "workload"])
    run(["ip", "address", "add", "169.254.1.1/32", "dev", "near"])
    run(["ip", "link", "set", "near", "up"])
    run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    for words in (
        "address add 10.1.0.9/32 dev eth0",
        "link set eth0 up",
        "route add default via 169.254.1.1 dev eth0 onlink",
    ):
        run(["ip", "-n", "workload", *words.split()])
    route(h1, "add", "10.1.0.9", "near")
    route(h1, "add", "10.2.0.200")
    run(["ip", "route", "add", "10.1.0.200", "dev", "lo"])
    wait_until("the route in GoBGP", lambda: "10.1.0.9/32" in fabric.gobgp.routes(), 20)
    wait_until("the route in FRR", lambda: "10.1.0.9 " in fabric.outside.run(["ip", "route"]).out, 20)
    (path,) = fabric.frr.show("bgp ipv4 unicast 10.1.0.9/32")["paths"]
    assert path["community"]["string"] == f"{ASN}:100" and path["largeCommunity"]["string"] == f"{FRR_ASN}:1:2"
    assert fabric.outside.run(["ping", "-c", "2", "-i", "0.1", "-W", "1", "10.1.0.9"]).ok
    assert set(fabric.gobgp.routes()) == set(fabric.frr.show("bgp ipv4 unicast")["routes"]) - {
        "203.0.113.0/24", "10.1.0.77/32"
    } == {"10.1.0.9/32"}  # fmt: skip
    wait_until("FRR's own route", lambda: "203.0.113.0/24 " in learnt(h1), 20)
    assert "default" not in learnt(h1) and "10.1.0.77" not in learnt(h1)
    wait_until("the other network's route in the mesh", lambda: has(fabric.h2, "10.2.0.200"), 20)
    assert not has(fabric.h2, "203.0.113.0/24") and not has(fabric.h2, "10.1.0.200")


def test_one_that_is_killed_is_started_again_and_the_kernel_keeps_its_routes(fabric: Fabric, address: str) -> None:
    fabric.settle()
    events = fabric.h2.spawn(["ip", "monitor", "route"], log="killed")
    fabric.h2.run(["kill", "-9", before := pid(fabric.h2)])
    wait_until("another BIRD", lambda: pid(fabric.h2) != before, 20)
    fabric.settle()
    route(fabric.h1, "add", "10.2.0.201")
    wait_until("news", lambda: has(fabric.h2, "10.2.0.201"), 20)
    assert fabric.rigs[1].statuses()[SPEAKER_KEY].state == "active"
    assert f"Deleted {address}" not in events.output
    events.kill()
    wait_until("its peers' sessions", lambda: has(fabric.h3, "10.2.0.201"), 20)


def test_a_new_agent_leaves_it_alone_and_starts_it_again_if_it_died_meanwhile(fabric: Fabric, address: str) -> None:
    rig, before = fabric.rigs[1], pid(fabric.h2)
    rig.pause()
    rig.start()
    assert pid(fabric.h2) == before and has(fabric.h2, address)
    rig.pause()
    fabric.h2.run(["kill", "-9", before])
    assert has(fabric.h2, address)
    rig.start()
    assert pid(fabric.h2) != before and has(fabric.h2, address)
    assert rig.statuses()[SPEAKER_KEY].state == "active"


def test_what_is_wrong_is_reported_and_the_rest_stays(fabric: Fabric, address: str) -> None:
    rig, before = fabric.rigs[1], pid(fabric.h2)
    bad = Peer(f"{V4}99", ASN, password='"')
    rig.want(bad)
    assert "the password is not" in rig.wait_status(bad.key, "error").reason
    rig.want(speaker(2, bfd_interval_ms=-1), gone=[bad])
    assert "syntax error" in rig.wait_status(SPEAKER_KEY, "error").reason
    assert pid(fabric.h2) == before and has(fabric.h2, address)
    rig.want(speaker(2))
    rig.wait_status(SPEAKER_KEY, "active")
    assert pid(fabric.h2) == before and has(fabric.h2, address)


def test_routes_of_a_host_that_vanishes_are_gone_in_half_a_second(fabric: Fabric) -> None:
    fabric.settle()
    route(fabric.h3, "add", "10.2.0.202")
    wait_until("the route", lambda: has(fabric.h2, "10.2.0.202"), 20)
    fabric.h3.run(["ip", "link", "set", "eth0", "down"])
    assert seconds_until(lambda: not has(fabric.h2, "10.2.0.202")) < 0.5
    fabric.h3.run(["ip", "link", "set", "eth0", "up"])
    fabric.h3.run(["ip", "address", "add", f"{V6}3/64", "dev", "eth0", "nodad"])
    wait_until("it is back", lambda: has(fabric.h2, "10.2.0.202"), 20)


def test_a_reflector_passes_the_hosts_routes_on_with_their_own_next_hop(fabric: Fabric) -> None:
    clients = [Peer(f"{V4}{number}", ASN, "client") for number in (2, 3)]
    for number, rig in enumerate(fabric.rigs, 1):
        rest = [item for item in mesh(number) if isinstance(item, Peer)]
        rig.want(*(clients if number == 1 else [Peer(f"{V4}1", ASN, "reflector")]), gone=[])
        kept = {item.key for item in clients} if number == 1 else {f"peer/{V4}1"}
        rig.want(gone=[item for item in rest if item.key not in kept])
    route(fabric.h2, "add", "10.2.0.203")
    wait_until("the route", lambda: has(fabric.h3, "10.2.0.203"), 20, lambda: birdc(fabric.h1))
    assert f"10.2.0.203 via {V4}2 dev eth0" in learnt(fabric.h3)


def test_one_that_is_wanted_no_more_goes_with_its_routes_and_a_missing_one_is_told(fabric: Fabric) -> None:
    rig, host = fabric.rigs[2], fabric.h3
    host.run(["ip", "route", "add", "10.2.0.204", "dev", "lo", "proto", "bird", "metric", "7"])
    wait_until("routes", lambda: has(host, "10.2.0.203"), 20)
    for words in ("-6 route add 2001:db8:1::99/128 dev eth0", "route add blackhole 10.2.0.205"):
        host.run(["ip", *words.split(), "proto", "bird", "metric", "2080"])
    wanted = list(rig.objects.values())
    rig.want(gone=wanted)
    assert rig.wait_status(SPEAKER_KEY, "gone")
    assert learnt(host).split() == ["10.2.0.204", "dev", "lo", "scope", "link", "metric", "7"]
    assert learnt(host, "-6") == ""
    assert not host.path(FOLDER).exists() and not host.run(["pgrep", "-x", "bird"], check=False).ok
    host.run(["mount", "--bind", "/dev/null", "/usr/sbin/bird"])
    rig.want(*wanted)
    assert "BIRD is not installed (package bird2)" in rig.wait_status(SPEAKER_KEY, "error").reason
    host.path("/run/portico").chmod(0o700)
    host.run(["umount", "/usr/sbin/bird"])
    rig.wait_status(SPEAKER_KEY, "active", 20)
    assert user(host) == "root", "nobody else gets to its folder"
    host.path("/run/portico").chmod(0o755)
    host.run(["kill", "-9", before := pid(host)])
    wait_until("another BIRD, which has a log of its own", lambda: pid(host) != before and user(host) == "bird", 20)


def test_purge_ends_it_and_leaves_the_hosts_own_routes(fabric: Fabric) -> None:
    rig, host = fabric.rigs[2], fabric.h3
    wait_until("routes", lambda: has(host, "10.2.0.203"), 20, lambda: birdc(host))
    rig.pause()
    shown = host.run([sys.executable, "-m", "portico.cli", "agent", "--purge"]).out
    assert "removed BGP speaker of portico" in shown
    assert learnt(host).split() == ["10.2.0.204", "dev", "lo", "scope", "link", "metric", "7"]
    assert not host.path(FOLDER).exists() and not host.run(["pgrep", "-x", "bird"], check=False).ok
