# SPDX-License-Identifier: Apache-2.0
"""The nftables rules of a router's namespace: address translation, for IPv4 alone. Pure.

What goes between the networks inside is not tracked: a router holds no state of it, so that any host's can take its
packets, and costs it nothing. A packet that comes from outside has the mark `FROM_OUTSIDE`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from portico.agent import addresses, related
from portico.agent.gateways import numbers
from portico.hoststate import Router
from portico.hoststate.l3 import Forward, Leg

TABLE = "inet portico"
FROM_OUTSIDE = 1
NUMBERS = {"tcp": 6, "udp": 17, "udplite": 136, "dccp": 33, "sctp": 132}
"""Protocols whose ports can be forwarded, by the names that the API has for them."""


@dataclass(frozen=True, slots=True)
class Translation:
    """What a router translates: rules are the same exactly if this is.

    `outside` are gateways' links with the address that senders inside get there ("" for none), `known` with the ranges
    inside that keep theirs; `apart` are links, outside or not, with ranges inside that they have nothing to do with.
    `own` is the address that a router has outside, `fixed` what each floating address stands for. `ports` maps an
    address, a protocol's number and a port to an address and a port; `ranges` the same of all ports of a range to those
    of the same number. `marks` are the numbers of gateways' links, where there are several, `by` of those that have the
    floating addresses of senders, and `homes` of those that have an address outside. `guarded` are gateways' links
    with the IPv6 addresses inside that are reached by them, and the ranges inside of which nothing else is. `helpers`
    are protocols and ports with what reads along in connections there.
    """

    inside: tuple[str, ...] = ()
    outside: tuple[tuple[str, str], ...] = ()
    own: str = ""
    fixed: tuple[tuple[str, str], ...] = ()
    ports: tuple[tuple[str, int, int, str, int], ...] = ()
    ranges: tuple[tuple[str, int, int, int, str], ...] = ()
    announces: bool = False
    known: tuple[tuple[str, tuple[str, ...]], ...] = ()
    apart: tuple[tuple[str, bool, tuple[str, ...]], ...] = ()
    marks: tuple[tuple[str, int], ...] = ()
    by: tuple[tuple[str, int], ...] = ()
    homes: tuple[tuple[str, int], ...] = ()
    guarded: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = ()
    helpers: tuple[tuple[str, int, str], ...] = ()

    def affected(self, after: Translation) -> frozenset[str] | None:
        """Return the addresses whose connections are others' once `after` is in force; None for those of all."""
        others = (self.own, self.known) != (after.own, after.known) or not {*self.outside} <= {*after.outside}
        if self.own and others:
            return None
        gone = {*self.fixed} - {*after.fixed}
        found = {address for pair in gone for address in pair}
        found |= {item[0] for item in {*self.ports} - {*after.ports}}
        return frozenset(found | {item[0] for item in {*self.ranges} - {*after.ranges}})


def translation(router: Router, names: Mapping[str, str]) -> Translation:
    """Return what a router translates; `names` are its links by the ids of their ports.

    Raises:
        ValueError: an address, a range or a protocol is none.
    """
    gateways = [leg for leg in router.legs if leg.outside]
    prefixes = any(leg.prefixes for leg in router.legs)
    apart = tuple(sorted((names[leg.port_id], leg.outside, _ranges(leg.apart)) for leg in router.legs if leg.apart))
    guarded = tuple(sorted(_guarded(leg, names[leg.port_id]) for leg in gateways if leg.guarded))
    if not (router.floating or router.forwards or any(leg.snat for leg in gateways)):
        return Translation(announces=prefixes, apart=apart, guarded=guarded)
    ports, ranges = forwards(router.forwards)
    fixed = [(ipv4(item.address), ipv4(item.fixed)) for item in router.floating if item.fixed]
    inside = (str(net) for leg in router.legs if not leg.outside for net in _networks(leg))
    marks = numbers(leg.port_id for leg in gateways if leg.beyond)
    at = {ipv4(item.address): item.port_id for item in router.floating}
    by = {inner: marks[at[address]] for address, inner in sorted(fixed) if at[address] in marks}
    return Translation(
        inside=tuple(sorted(set(inside))),
        outside=tuple(sorted((names[leg.port_id], ipv4(leg.snat) if leg.snat else "") for leg in gateways)),
        own=next((str(address) for leg in gateways for address in _own(leg)), ""),
        fixed=tuple(sorted(fixed)),
        ports=tuple(sorted(ports)),
        ranges=tuple(sorted(ranges)),
        announces=prefixes,
        known=tuple(sorted((names[leg.port_id], _ranges(leg.known)) for leg in gateways if leg.known)),
        apart=apart,
        marks=tuple(sorted((names[port_id], number) for port_id, number in marks.items())),
        by=tuple(sorted(by.items())),
        homes=tuple(sorted(_homes(router, marks))),
        guarded=guarded,
        helpers=tuple((item.protocol, item.port, item.helper) for item in router.helpers),
    )


def _homes(router: Router, marks: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    yield from ((ipv4(leg.snat), marks[leg.port_id]) for leg in router.legs if leg.snat and leg.port_id in marks)
    yield from ((ipv4(item.address), marks[item.port_id]) for item in router.floating if item.port_id in marks)


def _ranges(cidrs: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(addresses.network(text, "cidr")) for text in cidrs)


def _guarded(leg: Leg, name: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    return name, tuple(str(addresses.address(text, "proxied")) for text in leg.proxied), _ranges(leg.guarded)


def _networks(leg: Leg) -> Iterator[ipaddress.IPv4Network]:
    for number, text in enumerate(leg.addresses):
        net = addresses.network(text, f"addresses[{number}]")
        if isinstance(net, ipaddress.IPv4Network):
            yield net


def _own(leg: Leg) -> Iterator[ipaddress.IPv4Address]:
    for text in leg.addresses:
        interface = ipaddress.ip_interface(text)
        if isinstance(interface, ipaddress.IPv4Interface):
            yield interface.ip


def ipv4(text: str) -> str:
    """Return an address that is translated.

    Raises:
        ValueError: it is none of IPv4.
    """
    found = addresses.address(text, "address")
    if found.version != 4:
        raise ValueError(f"address {text!a} is translated, and not of IPv4")
    return str(found)


def forwards(
    items: Iterable[Forward],
) -> tuple[set[tuple[str, int, int, str, int]], set[tuple[str, int, int, int, str]]]:
    """Return forwarded ports, one by one and in ranges, as in `Translation`.

    Raises:
        ValueError: an address or a protocol is none.
    """
    ports, ranges = set(), set()
    for item in items:
        if item.protocol not in NUMBERS:
            raise ValueError(f"forwards: protocol {item.protocol!a} has no ports that can be forwarded")
        number, address, fixed = NUMBERS[item.protocol], ipv4(item.address), ipv4(item.fixed)
        (first, last), (start, end) = item.external, item.internal
        if (first, last) == (start, end) and first != last:
            ranges.add((address, number, first, last, fixed))
            continue
        step = 1 if last - first == end - start else 0
        ports |= {(address, number, port, fixed, start + step * (port - first)) for port in range(first, last + 1)}
    return ports, ranges


def text(wanted: Translation) -> str:
    """Return the commands that put a translation in force in the place of whatever the table has, at once."""
    head = f"add table {TABLE}\ndelete table {TABLE}\n"
    parts = [*_maps(wanted), *_chains(wanted), *_strays(wanted)] if wanted.outside else []
    parts += _kept(wanted) if wanted.marks else ()
    parts += [*(_local() if wanted.announces else ()), *(_scopes(wanted) if wanted.apart else ())]
    parts += _guards(wanted) if wanted.guarded else ()
    parts += related.lines(wanted.helpers) if wanted.helpers else ()
    return head + (_block(parts) if parts else "")


def _block(parts: Sequence[str]) -> str:
    return f"table {TABLE} {{\n" + "\n".join(parts) + "\n}\n"


def _local() -> list[str]:
    """The server that announces prefixes shall not answer DHCP: each network has one that knows its ports."""
    return ["chain local { type filter hook input priority 0; policy accept; udp dport 547 drop; }"]


def _scopes(wanted: Translation) -> Iterator[str]:
    """What is translated passes: who sends it means the address outside."""
    yield "chain scopes {\n	type filter hook forward priority filter; policy accept;\n	ct status snat,dnat accept"
    if wanted.fixed and wanted.outside:
        links, fixed = ", ".join(f'"{name}"' for name, _ in wanted.outside), ", ".join(it for _, it in wanted.fixed)
        yield f"	oifname {{ {links} }} ip saddr {{ {fixed} }} accept"
    for name, outside, ranges in wanted.apart:
        for family in ("ip", "ip6"):
            if mine := [cidr for cidr in ranges if (":" in cidr) == (family == "ip6")]:
                listed = ", ".join(mine)
                yield f'	oifname "{name}" {family} saddr {{ {listed} }} drop'
                if outside:
                    yield f'	iifname "{name}" {family} daddr {{ {listed} }} drop'
    yield "}"


def _guards(wanted: Translation) -> Iterator[str]:
    """What comes from outside to addresses inside that nobody answers for stays out, as in Neutron: answers, too."""
    yield "chain guards {\n	type filter hook forward priority filter; policy accept;"
    for name, proxied, ranges in wanted.guarded:
        if proxied:
            yield f'	iifname "{name}" ip6 daddr {{ {", ".join(proxied)} }} accept'
        yield f'	iifname "{name}" ip6 daddr {{ {", ".join(ranges)} }} drop'
    yield "}"


def _kept(wanted: Translation) -> Iterator[str]:
    """What has come or gone by one of several gateways goes by it again: others know nothing of the connection."""
    links = ", ".join(f'"{name}"' for name, _ in wanted.outside)
    yield _container("map by", "type ipv4_addr : mark;", (f"{fixed} : {number}" for fixed, number in wanted.by))
    homes = (f"{address} : {number}" for address, number in wanted.homes)
    yield _container("map homes", "type ipv4_addr : mark;", homes)
    yield "chain kept {\n	type filter hook prerouting priority mangle; policy accept;"
    yield from (f'	iifname "{name}" ct mark 0 ct mark set {number}' for name, number in wanted.marks)
    yield f"""	iifname {{ {links} }} accept
	ct mark 0 ct status snat ct mark set ct reply ip daddr map @homes
	ct mark != 0 meta mark set ct mark accept
	meta mark set ip saddr map @by
}}
chain answers {{
	type route hook output priority mangle; policy accept;
	ct mark != 0 meta mark set ct mark
}}
chain leave {{
	type filter hook postrouting priority mangle; policy accept;"""
    yield from (f'	oifname "{name}" ct mark 0 ct mark set {number}' for name, number in wanted.marks)
    yield "}"


def _strays(wanted: Translation) -> Iterator[str]:
    """What is of no connection is not translated: it shall not tell outside who is inside."""
    yield "chain strays {\n	type filter hook forward priority filter; policy accept;"
    for name, ranges in wanted.known:
        yield f'	oifname "{name}" ip saddr {{ {", ".join(ranges)} }} accept'
    if hidden := [f'"{name}"' for name, address in wanted.outside if address]:
        yield f"	oifname {{ {', '.join(hidden)} }} meta mark != {FROM_OUTSIDE} ct state invalid drop"
    if wanted.fixed:
        links, fixed = ", ".join(f'"{name}"' for name, _ in wanted.outside), ", ".join(it for _, it in wanted.fixed)
        yield f"	oifname {{ {links} }} ip saddr {{ {fixed} }} ct state invalid drop"
    yield "}"


def _maps(wanted: Translation) -> Iterator[str]:
    yield _container("set inside", "type ipv4_addr; flags interval; auto-merge;", wanted.inside)
    whole = [f"{address} : {fixed}" for address, fixed in wanted.fixed]
    yield _container("map floating", "type ipv4_addr : ipv4_addr;", whole)
    back = [
        f"{fixed} : {address}"
        for address, fixed in {fixed: (address, fixed) for address, fixed in wanted.fixed}.values()
    ]
    yield _container("map fixed", "type ipv4_addr : ipv4_addr;", back)
    key = "type ipv4_addr . inet_proto . inet_service"
    single = [f"{address} . {number} . {port} : {fixed} . {to}" for address, number, port, fixed, to in wanted.ports]
    yield _container("map ports", f"{key} : ipv4_addr . inet_service;", single)
    ranges = [
        f"{address} . {number} . {first}-{last} : {fixed}" for address, number, first, last, fixed in wanted.ranges
    ]
    yield _container("map ranges", f"{key} : ipv4_addr; flags interval;", ranges)


def _container(name: str, kind: str, elements: Iterable[str]) -> str:
    listed = ", ".join(elements)
    return f"{name} {{ {kind} {f'elements = {{ {listed} }};' if listed else ''} }}"


def _chains(wanted: Translation) -> Iterator[str]:
    links = ", ".join(f'"{name}"' for name, _ in wanted.outside)
    target = "ip daddr . meta l4proto . th dport"
    yield f"""chain untracked {{
	type filter hook prerouting priority raw; policy accept;
	meta nfproto ipv6 notrack accept
	iifname {{ {links} }} meta mark set {FROM_OUTSIDE} accept
	ip daddr @inside notrack
}}
chain to {{
	type nat hook prerouting priority dstnat; policy accept;
	dnat ip addr . port to {target} map @ports
	dnat ip to {target} map @ranges
	dnat ip to ip daddr map @floating
}}
chain from {{
	type nat hook postrouting priority srcnat; policy accept;
	oifname {{ {links} }} snat ip to ip saddr map @fixed"""
    # Who is inside and asks an address outside that stands for somebody inside hears from that address.
    yield f"	ct status dnat meta mark != {FROM_OUTSIDE} snat ip to ip saddr map @fixed"
    yield f"	ct status dnat meta mark != {FROM_OUTSIDE} snat ip to {wanted.own or 'ct original ip daddr'}"
    for name, ranges in wanted.known:
        yield f'	oifname "{name}" ip saddr {{ {", ".join(ranges)} }} return'
    for name, address in wanted.outside:
        if address:
            yield f'	oifname "{name}" meta mark != {FROM_OUTSIDE} snat ip to {address}'
    yield "}"
