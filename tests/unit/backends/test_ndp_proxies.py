# SPDX-License-Identifier: Apache-2.0
"""Which addresses inside gateways answer for, what they keep out, and that hosts hear of changes."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from msgspec import structs

from portico import planning
from portico.agent import router_rules
from portico.backends.bridge import BridgeBackend
from portico.broker.hosts import HostStates
from portico.contract import Dirty
from portico.hoststate import HostObject, Router, Update, key_of
from portico.hoststate.l3 import Leg
from portico.model.snapshot import Snapshot
from portico.testing.router_suite import joined_world
from portico.testing.router_world import OUTSIDE, PutRouter, l3_id, put_in_scopes
from portico.testing.world import HOSTS, PutPort, PutSubnet, object_id
from portico.trace.packet import TCP, Packet, Verdict
from portico.trace.question import Question, answer
from portico.trace.way import verdict

ROUTER, GATEWAY = l3_id("router", 0), l3_id("gateway", 0)
INSIDE, OUTER = object_id("port", 0), object_id("port", 4)
NETS = ("2001:db8:0:1::/64", "2001:db8:1:1::/64")


def put_proxy(want: Snapshot, port_id: str = INSIDE, number: int = 1) -> str:
    (address,) = (str(item.address) for item in want.ports[port_id].fixed_ips if item.address.version == 6)
    row = {"id": f"proxy{number}", "router_id": ROUTER, "port_id": port_id, "ip_address": address}
    want.put("ndp_proxy", row)
    return address


def world(outside: str = "a", *, enabled: bool = True) -> Snapshot:
    """Return a router between the networks 0 and 2 of scope "a" and one outside, with an IPv6 address there."""
    open_ports = PutPort(0, 0, port_security=False), PutPort(4, OUTSIDE, port_security=False)
    made = joined_world(PutRouter(0, (0, 2), outside=True), PutSubnet(OUTSIDE, 6), *open_ports)
    put_in_scopes(made, {0: "a", 2: "a", OUTSIDE: outside})
    near = [row for row in made.rows["subnet"].values() if row["network_id"] == object_id("network", OUTSIDE)]
    (subnet,) = (row for row in near if ":" in row["cidr"])
    gateway = made.rows["port"][GATEWAY]
    address = str(ip_address(subnet["cidr"].partition("/")[0]) + 100)
    gateway["fixed_ips"] = [*gateway["fixed_ips"], {"subnet_id": subnet["id"], "ip_address": address}]
    made.rows["router"][ROUTER]["enable_ndp_proxy"] = enabled
    return made.snapshot()


def host_of(want: Snapshot) -> str:
    return want.ports[INSIDE].host


def planned(want: Snapshot) -> Router:
    return planning.routers.router(want, host_of(want), ROUTER)


def leg(want: Snapshot) -> Leg:
    (found,) = (leg for leg in planned(want).legs if leg.outside)
    return found


def test_a_gateway_answers_for_what_is_of_its_scope_and_keeps_all_else_out() -> None:
    want = world()
    assert (leg(want).proxied, leg(want).guarded) == ((), NETS)
    address = put_proxy(want)
    assert (leg(want).proxied, leg(want).guarded) == ((address,), NETS)
    assert all(not (it.proxied or it.guarded) for it in planned(want).legs if not it.outside)
    other = world("b")
    put_proxy(other)
    assert (leg(other).proxied, leg(other).guarded) == ((), NETS)
    off = world(enabled=False)
    put_proxy(off)
    assert (leg(off).proxied, leg(off).guarded) == ((), ())


def test_an_address_of_a_port_that_is_on_no_host_is_not_answered_for() -> None:
    want = world()
    put_proxy(want)
    host = host_of(want)
    want.place("port", structs.replace(want.ports[INSIDE], host=""))
    assert all(leg.proxied == () for leg in planning.routers.router(want, host, ROUTER).legs)


def test_a_host_that_has_a_gateway_in_part_leads_what_is_proxied_and_nothing_else() -> None:
    want = world()
    other = next(name for name in HOSTS if name != host_of(want))
    want.place("port", structs.replace(want.ports[INSIDE], host=other))
    made = planning.routers.router(want, other, ROUTER)
    (part,) = (leg for leg in made.legs if leg.outside)
    assert (part.proxied, part.addresses, part.guarded) == ((), (), NETS) and {*NETS} < {*part.apart}
    assert not any(":" in way.destination for way in made.ways)
    assert not sent(want, INSIDE, backwards=True)
    address = put_proxy(want)
    made = planning.routers.router(want, other, ROUTER)
    (part,) = (leg for leg in made.legs if leg.outside)
    (whole,) = (leg for leg in planning.routers.router(want, min(HOSTS), ROUTER).legs if leg.outside)
    assert (part.proxied, whole.proxied) == ((address,), ())
    assert {way.destination for way in made.ways if ":" in way.destination} == {"2001:db8:1:2::/64", "::/0"}
    names = {item.port_id: f"pl{number}" for number, item in enumerate(made.legs)}
    scopes = router_rules.text(router_rules.translation(made, names)).partition("chain scopes")[2]
    drop = scopes.index("drop")
    assert all(
        f'{way}ifname "{names[GATEWAY]}" ip6 {end} {{ {address} }} accept' in scopes[:drop]
        for way, end in (("o", "saddr"), ("i", "daddr"))
    )
    assert sent(want, INSIDE, backwards=True)


def sent(want: Snapshot, port_id: str, *, backwards: bool = False) -> Verdict:
    """Judge a packet of IPv6 from outside to a port, or from it."""
    ports = [want.ports[item] for item in ((port_id, OUTER) if backwards else (OUTER, port_id))]
    source, target = (next(ip.address for ip in port.fixed_ips if ip.address.version == 6) for port in ports)
    return verdict(want, Packet(ports[0].id, ports[1].id, ports[0].mac, source, target, TCP, 40000, 80))


def test_the_oracle_lets_in_what_is_proxied_and_tells_why_nothing_else_is() -> None:
    want = world()
    assert not sent(want, INSIDE)
    assert sent(world(enabled=False), INSIDE)
    assert sent(want, INSIDE, backwards=True), "what leaves is let out"
    address = put_proxy(want)
    assert sent(want, INSIDE)
    # who is outside knows the way by its subnet's host route
    want.remove("ndp_proxy", "proxy1")
    gateway = next(item.address for item in want.ports[GATEWAY].fixed_ips if item.address.version == 6)
    (outer,) = (it for it in want.subnets.values() if gateway in it.cidr)
    want.place("subnet", structs.replace(outer, routes=((ip_network(NETS[0]), gateway),)))
    found = answer(want, Question(OUTER, ip_address(address), TCP, 80))
    assert (found.hops[-1].object, found.hops[-1].verdict) == (f"router/{ROUTER}", "drop")
    assert found.reason == f"enable_ndp_proxy is true, and none of its NDP proxies is for {address}"
    put_proxy(want)
    assert answer(want, Question(OUTER, ip_address(address), TCP, 80))


def test_rules_name_links_addresses_and_ranges() -> None:
    want = world()
    names = {item.port_id: f"pl{number}" for number, item in enumerate(planned(want).legs)}
    address = put_proxy(want)
    text = router_rules.text(router_rules.translation(planned(want), names))
    name, nets = names[GATEWAY], ", ".join(NETS)
    accept = f'iifname "{name}" ip6 daddr {{ {address} }} accept'
    drop = f'iifname "{name}" ip6 daddr {{ {nets} }} drop'
    assert accept in text
    assert drop in text.partition(accept)[2], "who is answered for is let in before"
    assert "guards" not in router_rules.text(router_rules.translation(planned(world(enabled=False)), names))


def test_changed_proxies_and_ports_reach_the_hosts_of_routers() -> None:
    want, hosts = world(), HostStates()
    backend, host, seen = BridgeBackend(hosts), host_of(want), dict[str, HostObject]()

    def take(update: Update) -> None:
        seen.update({key_of(item): item for item in update.objects})

    hosts.follow(host, take)
    list(backend.sync(want, Dirty(everything=True)))

    def synced(resource: str, object_id: str) -> bool:
        before = seen.get(f"router/{ROUTER}")
        list(backend.sync(want, Dirty(ids={resource: frozenset({object_id})})))
        hosts.publish(len(seen))
        assert seen[f"router/{ROUTER}"] == planned(want)
        return seen[f"router/{ROUTER}"] != before

    hosts.publish(1)
    put_proxy(want)
    assert synced("ndp_proxy", "proxy1")
    want.remove("ndp_proxy", "proxy1")
    assert synced("ndp_proxy", "proxy1")
