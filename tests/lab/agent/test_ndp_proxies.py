# SPDX-License-Identifier: Apache-2.0
"""NDP proxies on a real kernel: who outside reaches addresses inside as if they were on its own network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from msgspec import structs

from portico.agent import owner
from portico.hoststate import Bridge, Router, Vif
from portico.hoststate.l3 import Leg, Way
from portico.testing.lab import Lab, wait_until
from portico.testing.rig import Rig, Workload

from .test_explain import differences

pytestmark = pytest.mark.lab

REST = "-0000-4000-8000-000000000000"
INSIDE, OUTSIDE = f"1aaaaaaa{REST}", f"2aaaaaaa{REST}"
NET, OUTER = "2001:db8:1::", "2001:db8:f::"
BLUE, GREEN = f"{NET}5", f"{NET}6"
FAR = "2001:db8:e::7"
"""Somebody beyond the network outside."""


def port(network_id: str, number: int) -> Vif:
    name = f"{number:x}bbbbbbb{REST}"
    return Vif(name, network_id, f"02:00:00:00:00:{number:02x}", 1450, owner.host_link(name))


def router(*proxied: str, guarded: tuple[str, ...] = (f"{NET}/64",)) -> Router:
    inner = Leg(f"10ffffff{REST}", INSIDE, "02:00:00:ff:00:01", 1450, (f"{NET}1/64",))
    outer = Leg(f"20ffffff{REST}", OUTSIDE, "02:00:00:ff:00:02", 1450, (f"{OUTER}1/64",), outside=True)
    return Router(f"1ccccccc{REST}", (inner, structs.replace(outer, guarded=guarded, proxied=proxied)))


@dataclass(frozen=True, slots=True)
class Site:
    rig: Rig
    blue: Workload
    green: Workload
    outer: Workload

    def knows(self, address: str, *options: str) -> None:
        """Have who is outside send to an address in this way from now on, and forget whom it has met."""
        self.outer.run("ip", "-6", "route", "replace", address, "dev", "eth0", *options)
        self.outer.run("ip", "-6", "neigh", "flush", "dev", "eth0")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        rig = Rig(lab.host("one"))
        ports = port(INSIDE, 5), port(INSIDE, 6), port(OUTSIDE, 7)
        rig.want(Bridge(INSIDE, 1450), Bridge(OUTSIDE, 1450), *ports, router())
        rig.start()
        blue, green = rig.plug("blue", ports[0], f"{BLUE}/64"), rig.plug("green", ports[1], f"{GREEN}/64")
        for workload in (blue, green):
            workload.run("ip", "-6", "route", "add", "default", "via", f"{NET}1")
        outer = rig.plug("outer", ports[2], f"{OUTER}7/64")
        blue.serve("tcp", "::", 80)
        yield Site(rig, blue, green, outer)


def test_who_is_outside_reaches_just_what_is_proxied_as_long_as_it_is(site: Site) -> None:
    rig, outer = site.rig, site.outer
    rig.want(router(BLUE))
    assert differences(rig, site.blue.vif.port_id) == []
    for address in (BLUE, GREEN):
        site.knows(address)
    assert outer.pings(BLUE)
    assert site.blue.pings(f"{OUTER}7")
    known = outer.run("ip", "-6", "neigh", "show", BLUE).out
    assert router().legs[1].mac in known, known
    assert outer.misses(GREEN, 1)
    assert router().legs[1].mac not in outer.run("ip", "-6", "neigh", "show", GREEN).out, "nobody answers for it"
    site.knows(GREEN, "via", f"{OUTER}1")
    assert outer.misses(GREEN, 1), "nor is it let in by who knows the way"
    talk = outer.talk(BLUE, 80)
    rig.want(router())
    heard = talk.output.count("silent")
    wait_until("the end of what had begun", lambda: talk.output.count("silent") > heard, 20, talk.tail)
    talk.kill()
    assert outer.misses(BLUE, 1), "although it knows the router still"
    site.knows(BLUE)
    assert outer.misses(BLUE, 1)
    rig.want(router(GREEN))
    assert site.green.pings(f"{OUTER}7"), "it is told of anew"


def test_where_another_host_has_the_gateway_what_is_proxied_is_led_all_the_same(site: Site) -> None:
    whole = router(BLUE)
    inner, outer = whole.legs
    mac = "02:00:00:ff:00:03"
    outer = structs.replace(outer, mac=mac, addresses=(), apart=(f"{NET}/64",))
    ways = Way(f"{OUTER}/64", "", outer.port_id), Way("::/0", f"{OUTER}7", outer.port_id)
    site.rig.want(structs.replace(whole, legs=(inner, outer), ways=ways))
    for address in (BLUE, GREEN):
        site.knows(address)
    assert site.outer.pings(BLUE)
    assert mac in site.outer.run("ip", "-6", "neigh", "show", BLUE).out
    assert site.blue.pings(f"{OUTER}7"), "by the network outside"
    site.outer.run("ip", "addr", "add", f"{FAR}/128", "dev", "lo", "nodad")
    assert site.blue.pings(FAR), "and by the next hop there"
    assert site.green.misses(f"{OUTER}7", 1) and site.outer.misses(GREEN, 1)


def test_without_guard_everything_comes_in_by_who_knows_the_way_and_nobody_answers(site: Site) -> None:
    site.rig.want(router(guarded=()))
    site.knows(GREEN, "via", f"{OUTER}1")
    assert site.outer.pings(GREEN)
    site.knows(GREEN)
    assert site.outer.misses(GREEN, 1)


def test_what_a_stranger_changes_is_seen_and_mended(site: Site) -> None:
    rig, inner = site.rig, ["ip", "netns", "exec", owner.router_netns("portico", router().router_id)]
    rig.want(router(BLUE))
    link = owner.leg_link(router().legs[1].port_id)
    rig.pause()
    for edit in (
        f"ip -6 neigh del proxy {BLUE} dev {link}",
        f"ip -6 neigh add proxy {GREEN} dev {link}",
        "sysctl -qw net.ipv6.conf.all.proxy_ndp=0",
    ):
        rig.host.run([*inner, *edit.split()])
    told = {line.split(" | ")[0] for line in differences(rig, site.blue.vif.port_id)}
    assert told == {f"router {word}" for word in ("proxied", "set_up")}
    rig.start()
    wait_until("it as it was", lambda: differences(rig, site.blue.vif.port_id) == [], 20)
    site.knows(BLUE)
    assert site.outer.pings(BLUE)
