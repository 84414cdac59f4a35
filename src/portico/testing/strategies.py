# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for edits of a small `World`. Addresses are those of RFC 5737 and RFC 3849."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from portico.testing.router_world import PutRouter, RouterWorld
from portico.testing.world import (
    HOSTS,
    PAIRS,
    Drop,
    Edit,
    MoveServer,
    PutAddressGroup,
    PutGroup,
    PutNetwork,
    PutPort,
    PutRule,
    PutSubnet,
    World,
)

NETWORKS = 2
PORTS = 5
GROUPS = 3
RULES = 8
ADDRESS_GROUPS = 2

_REMOTES = {
    "IPv4": ("192.0.2.0/24", "192.0.2.11/32", "192.0.2.10/31", "198.51.100.0/29", "0.0.0.0/0"),
    "IPv6": ("2001:db8:0:1::/64", "2001:db8:0:1::b/128", "2001:db8:ff::/80", "fe80::/10", "::/0"),
}
_ICMP = {"IPv4": ("icmp", (8, 13)), "IPv6": ("ipv6-icmp", (128, 139))}

networks = st.builds(
    PutNetwork, st.integers(0, NETWORKS - 1), admin_up=st.booleans() | st.just(True), mtu=st.sampled_from((1500, 1400))
)
subnets = st.builds(
    PutSubnet,
    st.integers(0, NETWORKS - 1),
    st.sampled_from((4, 6)),
    enable_dhcp=st.booleans(),
    ra_mode=st.sampled_from((None, "slaac", "dhcpv6-stateful")),
)
address_groups = st.builds(
    PutAddressGroup,
    st.integers(0, ADDRESS_GROUPS - 1),
    st.lists(st.sampled_from([*_REMOTES["IPv4"], *_REMOTES["IPv6"]]), unique=True, max_size=4).map(tuple),
)
groups = st.builds(PutGroup, st.integers(0, GROUPS - 1), stateful=st.booleans())


def _numbers(below: int, most: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(0, below - 1), max_size=most, unique=True).map(tuple)


@st.composite
def ports(draw: st.DrawFn, number: int | None = None) -> PutPort:
    """Ports on both hosts or none, with every security setting; most are neighbours, up and guarded."""
    return PutPort(
        draw(st.integers(0, PORTS - 1)) if number is None else number,
        draw(st.sampled_from((*[0] * 4, *range(NETWORKS)))),
        host=draw(st.sampled_from((*[HOSTS[0]] * 8, *HOSTS, ""))),
        versions=draw(st.sampled_from(((4, 6), (4,), (6,), ()))),
        groups=draw(_numbers(GROUPS, 3)),
        pairs=draw(_numbers(len(PAIRS), 2)),
        port_security=draw(st.sampled_from((True, True, True, False))),
        admin_up=draw(st.sampled_from((*[True] * 7, False))),
        plug=draw(st.sampled_from(("veth", "tap"))),
        standby=draw(st.sampled_from((*[""] * 5, *HOSTS))),
        steady=draw(st.sampled_from((False, False, True))),
    )


@st.composite
def rules(draw: st.DrawFn, number: int | None = None) -> PutRule:
    """Rules that Neutron would take: ports only where the protocol has them, remotes of the rule's family."""
    ethertype = draw(st.sampled_from(("IPv4", "IPv6")))
    icmp, types = _ICMP[ethertype]
    protocol = draw(st.sampled_from((None, "tcp", "udp", icmp, "112")))
    low: int | None = None
    high: int | None = None
    if protocol in ("tcp", "udp"):
        low, high = draw(st.sampled_from(((None, None), (80, 80), (8000, 8100))))
    elif protocol == icmp:
        low = draw(st.sampled_from((None, *types)))
        high = None if low is None else draw(st.sampled_from((None, 0)))
    kind = draw(st.sampled_from(("any", "cidr", "group", "addresses")))
    return PutRule(
        draw(st.integers(0, RULES - 1)) if number is None else number,
        draw(st.integers(0, GROUPS - 1)),
        direction=draw(st.sampled_from(("ingress", "egress"))),
        ethertype=ethertype,
        protocol=protocol,
        port_min=low,
        port_max=high,
        remote_cidr=draw(st.sampled_from(_REMOTES[ethertype])) if kind == "cidr" else None,
        remote_group=draw(st.integers(0, GROUPS - 1)) if kind == "group" else None,
        remote_addresses=draw(st.integers(0, ADDRESS_GROUPS - 1)) if kind == "addresses" else None,
    )


_COUNTS = {
    "network": NETWORKS,
    "port": PORTS,
    "security_group": GROUPS,
    "security_group_rule": RULES,
    "address_group": ADDRESS_GROUPS,
}


@st.composite
def drops(draw: st.DrawFn) -> Drop:
    """Removals of whatever may exist."""
    resource = draw(st.sampled_from((*_COUNTS, "subnet", "port")))
    if resource == "subnet":
        return Drop(resource, 16 * draw(st.integers(0, NETWORKS - 1)) + draw(st.sampled_from((4, 6))))
    return Drop(resource, draw(st.integers(0, _COUNTS[resource] - 1)))


def edits() -> st.SearchStrategy[Edit]:
    """Any one edit; ports and rules are the most frequent."""
    servers = st.builds(MoveServer, st.integers(0, NETWORKS - 1))
    return st.one_of(ports(), rules(), ports(), rules(), drops(), groups, address_groups, networks, subnets, servers)


def batches(max_size: int = 6) -> st.SearchStrategy[list[list[Edit]]]:
    """Sequences of changes; a broker that was busy takes in several edits at once."""
    return st.lists(st.lists(edits(), min_size=1, max_size=3), max_size=max_size)


def routers(number: int | None = None) -> st.SearchStrategy[PutRouter]:
    """Routers that join some networks, or none any more, with gateways, floating IPs and forwarded ports or without."""
    return st.builds(
        PutRouter,
        st.integers(0, 1) if number is None else st.just(number),
        st.sampled_from(((0, 2), (1, 3), (0, 1, 2), (2, 1), (3,), (), None)),
        outside=st.booleans(),
        snat=st.booleans(),
        admin_up=st.sampled_from((*[True] * 6, False)),
        floating=_numbers(PORTS, 2),
        forwarded=_numbers(PORTS, 1),
    )


scopes: st.SearchStrategy[dict[int, str]] = st.just({}) | st.dictionaries(
    st.integers(0, 4), st.sampled_from(("", "a", "b"))
)
"""The address scopes of networks' subnets; most often none."""


@st.composite
def router_worlds(draw: st.DrawFn) -> RouterWorld:
    """Worlds with four networks that routers join, two of which have the same subnets, and one outside."""
    world = RouterWorld()
    for network in range(5):
        world.apply(PutNetwork(network), PutSubnet(network, 4))
        if network < 4:
            world.apply(PutSubnet(network, 6, ra_mode="slaac" if network % 2 else None))
    world.apply(*(PutGroup(number) for number in range(GROUPS)))
    world.apply(*(PutRule(100 + v, 0, "egress", ethertype=f"IPv{v}") for v in (4, 6)))
    world.apply(*(draw(rules(number)) for number in range(4)))
    for number in range(PORTS):
        world.apply(replace(draw(ports(number)), network=draw(st.integers(0, 3))))
    world.apply(*(draw(routers(number)) for number in (0, 1)))
    return world


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Worlds with both networks, their subnets, and all groups, rules and ports; some groups let everything out."""
    world = World()
    for number in range(NETWORKS):
        world.apply(PutNetwork(number), PutSubnet(number, 4), PutSubnet(number, 6, ra_mode="slaac"))
    world.apply(*(PutGroup(number) for number in range(GROUPS)))
    world.apply(*(PutAddressGroup(number, draw(address_groups).cidrs) for number in range(ADDRESS_GROUPS)))
    for number in draw(st.sets(st.integers(0, GROUPS - 1))):
        world.apply(*(PutRule(100 + 10 * number + v, number, "egress", ethertype=f"IPv{v}") for v in (4, 6)))
    world.apply(*(draw(rules(number)) for number in range(RULES)))
    world.apply(*(draw(ports(number)) for number in range(PORTS)))
    return world
