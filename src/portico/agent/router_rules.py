# SPDX-License-Identifier: Apache-2.0
"""The nftables rules of a router's namespace: address translation, of IPv6 only behind the host. Pure.

What goes between the networks inside is not tracked: a router holds no state of it, so that any host's can take its
packets, and costs it nothing. A packet that comes from outside has the mark `FROM_OUTSIDE`; one from the network of an
interface with floating addresses `FROM_NEAR`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from portico.agent import addresses, related
from portico.agent.addresses import Net
from portico.agent.gateways import numbers
from portico.hoststate import Router
from portico.hoststate.l3 import Forward, Leg

TABLE = "inet portico"
FROM_OUTSIDE, FROM_NEAR = 1, 2
NUMBERS = {"tcp": 6, "udp": 17, "udplite": 136, "dccp": 33, "sctp": 132}
"""Protocols whose ports can be forwarded, by the names that the API has for them."""


@dataclass(frozen=True, slots=True)
class Translation:
    """What a router translates: rules are the same exactly if this is.

    `outside` are gateways' links with the address that senders inside get there ("" for none), `outside6` with that of
    IPv6, none at all if that is not translated; `known` with the ranges inside that keep theirs; `apart` are links,
    outside or not, with ranges inside that they have nothing to do with. `own` is the address that a router has
    outside, `fixed` what each floating address stands for. `ports` maps an address, a protocol's number and a port to
    an address and a port; `ranges` the same of all ports of a range to those of the same number. `marks` are the
    numbers of gateways' links, where there are several, `by` of those that have the floating addresses of senders, and
    `homes` of those that have an address outside. `guarded` are gateways' links with the IPv6 addresses inside that are
    reached by them, and the ranges inside of which nothing else is. `helpers` are protocols and ports with what reads
    along in connections there. `near` are links of interfaces with the floating addresses there, and what these stand
    for.
    """

    inside: tuple[str, ...] = ()
    outside: tuple[tuple[str, str], ...] = ()
    outside6: tuple[tuple[str, str], ...] = ()
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
    near: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return all floating addresses with what they stand for."""
        return (*self.fixed, *(pair for _, pairs in self.near for pair in pairs))

    def affected(self, after: Translation) -> frozenset[str] | None:
        """Return the addresses whose connections are others' once `after` is in force; None for those of all."""
        others = (self.own, self.known) != (after.own, after.known) or not {*self.outside} <= {*after.outside}
        given = {pair for pair in self.outside6 if pair[1]}
        if (self.own or given) and (others or not given <= {*after.outside6}):
            return None
        gone = {*self.pairs} - {*after.pairs}
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
    if not (router.floating or router.forwards or any(leg.snat or leg.snat6 for leg in gateways)):
        return Translation(announces=prefixes, apart=apart, guarded=guarded)
    ports, ranges = forwards(router.forwards)
    ends = {leg.port_id: leg for leg in router.legs}
    whole = [(ipv4(item.address), ipv4(item.fixed), ends[item.port_id]) for item in router.floating if item.fixed]
    fixed = [(address, inner) for address, inner, leg in whole if not leg.floats]
    near = [
        (names[leg.port_id], tuple(sorted((address, inner) for address, inner, at in whole if at is leg)))
        for leg in router.legs
        if leg.floats
    ]
    with_ipv6 = any(leg.snat6 for leg in gateways) or any(":" in item.address for item in router.forwards)
    legs = [leg for leg in router.legs if not leg.outside]
    inside = (net for leg in legs for net in _networks(leg) if net.version == 6 or not leg.floats)
    marks = numbers(leg.port_id for leg in router.legs if leg.beyond)
    by = {inner: marks[leg.port_id] for _, inner, leg in sorted(whole, key=lambda it: it[:2]) if leg.port_id in marks}
    return Translation(
        inside=tuple(sorted({str(net) for net in inside if net.version == 4 or with_ipv6})),
        outside=tuple(sorted((names[leg.port_id], ipv4(leg.snat) if leg.snat else "") for leg in gateways)),
        outside6=tuple(sorted((names[leg.port_id], _ipv6(leg.snat6)) for leg in gateways)) if with_ipv6 else (),
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
        near=tuple(sorted(near)),
        helpers=tuple((item.protocol, item.port, item.helper) for item in router.helpers),
    )


def _homes(router: Router, marks: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    yield from ((ipv4(leg.snat), marks[leg.port_id]) for leg in router.legs if leg.snat and leg.port_id in marks)
    floating = (item for item in router.floating if item.port_id in marks and ":" not in item.address)
    yield from ((ipv4(item.address), marks[item.port_id]) for item in floating)


def _ranges(cidrs: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(addresses.network(text, "cidr")) for text in cidrs)


def _guarded(leg: Leg, name: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    return name, tuple(str(addresses.address(text, "proxied")) for text in leg.proxied), _ranges(leg.guarded)


def _networks(leg: Leg) -> Iterator[Net]:
    yield from (addresses.network(text, f"addresses[{number}]") for number, text in enumerate(leg.addresses))


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


def _ipv6(text: str) -> str:
    """Return the address that senders get over IPv6, if there is one."""
    return str(addresses.address(text, "snat6")) if text else ""


def _pair(item: Forward) -> tuple[str, str]:
    """Return the addresses of a forwarding, outside and inside.

    Raises:
        ValueError: one is none, or they are of different IP versions.
    """
    outer, inner = addresses.address(item.address, "address"), addresses.address(item.fixed, "fixed")
    if outer.version != inner.version:
        raise ValueError(f"forwards: address {item.address!a} leads to {item.fixed!a}, of another IP version")
    return str(outer), str(inner)


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
        number, (address, fixed) = NUMBERS[item.protocol], _pair(item)
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
    parts = [*_maps(wanted), *_chains(wanted), *_strays(wanted)] if wanted.outside or wanted.near else []
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
    for name, proxied, _ in wanted.guarded:
        if proxied:
            yield f'	oifname "{name}" ip6 saddr {{ {", ".join(proxied)} }} accept'
            yield f'	iifname "{name}" ip6 daddr {{ {", ".join(proxied)} }} accept'
    for name, pairs in wanted.near:
        if pairs:
            yield f'	oifname "{name}" ip saddr {{ {", ".join(inner for _, inner in pairs)} }} accept'
    for name, outside, ranges in wanted.apart:
        for family, listed in _families(ranges):
            yield f'	oifname "{name}" {family} saddr {{ {listed} }} drop'
            if outside:
                yield f'	iifname "{name}" {family} daddr {{ {listed} }} drop'
    yield "}"


def _families(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield addresses or ranges by IP version, as nft lists them; none of a version: nothing."""
    by_family: dict[str, list[str]] = {"ip": [], "ip6": []}
    for text in texts:
        by_family["ip6" if ":" in text else "ip"].append(text)
    yield from ((family, ", ".join(found)) for family, found in by_family.items() if found)


def _guards(wanted: Translation) -> Iterator[str]:
    """What comes from outside to addresses inside that nobody answers for stays out, as in Neutron: answers, too.

    Not so where they are translated: there who is asked is somebody outside.
    """
    yield "chain guards {\n	type filter hook forward priority filter; policy accept;"
    if wanted.outside6:
        yield "	ct status snat,dnat accept"
    for name, proxied, ranges in wanted.guarded:
        if proxied:
            yield f'	iifname "{name}" ip6 daddr {{ {", ".join(proxied)} }} accept'
        yield f'	iifname "{name}" ip6 daddr {{ {", ".join(ranges)} }} drop'
    yield "}"


def _kept(wanted: Translation) -> Iterator[str]:
    """What has come or gone by one of several gateways goes by it again: others know nothing of the connection."""
    links = ", ".join(f'"{name}"' for name, _ in (*wanted.outside, *wanted.near))
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
        yield from (
            f'	oifname "{name}" {family} saddr {{ {listed} }} accept' for family, listed in _families(ranges)
        )
    for family, gateways in (("ipv4", wanted.outside), ("ipv6", wanted.outside6)):
        if hidden := [f'"{name}"' for name, address in gateways if address]:
            links = f"oifname {{ {', '.join(hidden)} }}"
            yield f"	meta nfproto {family} {links} meta mark != {FROM_OUTSIDE} ct state invalid drop"
    if wanted.fixed:
        links, fixed = ", ".join(f'"{name}"' for name, _ in wanted.outside), ", ".join(it for _, it in wanted.fixed)
        yield f"	oifname {{ {links} }} ip saddr {{ {fixed} }} ct state invalid drop"
    for name, pairs in wanted.near:
        if pairs:
            yield f'	oifname "{name}" ip saddr {{ {", ".join(inner for _, inner in pairs)} }} ct state invalid drop'
    yield "}"


def _maps(wanted: Translation) -> Iterator[str]:
    whole = [f"{address} : {fixed}" for address, fixed in wanted.pairs]
    yield _container("map floating", "type ipv4_addr : ipv4_addr;", whole)
    back = [
        f"{fixed} : {address}"
        for address, fixed in {fixed: (address, fixed) for address, fixed in wanted.fixed}.values()
    ]
    yield _container("map fixed", "type ipv4_addr : ipv4_addr;", back)
    for mark, kind in (("", "ipv4_addr"), ("6", "ipv6_addr"))[: 2 if wanted.outside6 else 1]:
        inside = (net for net in wanted.inside if (":" in net) == bool(mark))
        yield _container(f"set inside{mark}", f"type {kind}; flags interval; auto-merge;", inside)
        key = f"type {kind} . inet_proto . inet_service"
        single = (
            f"{address} . {number} . {port} : {fixed} . {to}"
            for address, number, port, fixed, to in wanted.ports
            if (":" in address) == bool(mark)
        )
        yield _container(f"map ports{mark}", f"{key} : {kind} . inet_service;", single)
        ranges = (
            f"{address} . {number} . {first}-{last} : {fixed}"
            for address, number, first, last, fixed in wanted.ranges
            if (":" in address) == bool(mark)
        )
        yield _container(f"map ranges{mark}", f"{key} : {kind}; flags interval;", ranges)


def _container(name: str, kind: str, elements: Iterable[str]) -> str:
    listed = ", ".join(elements)
    return f"{name} {{ {kind} {f'elements = {{ {listed} }};' if listed else ''} }}"


def _chains(wanted: Translation) -> Iterator[str]:
    yield from _untracked(wanted)
    target = "daddr . meta l4proto . th dport"
    yield f"""chain to {{
	type nat hook prerouting priority dstnat; policy accept;
	dnat ip addr . port to ip {target} map @ports
	dnat ip to ip {target} map @ranges
	dnat ip to ip daddr map @floating"""
    if wanted.outside6:
        yield f"	dnat ip6 addr . port to ip6 {target} map @ports6\n	dnat ip6 to ip6 {target} map @ranges6"
    yield "}\nchain from {\n	type nat hook postrouting priority srcnat; policy accept;"
    yield from _own_sources(wanted)
    for name, ranges in wanted.known:
        yield from (
            f'	oifname "{name}" {family} saddr {{ {listed} }} return' for family, listed in _families(ranges)
        )
    for family, gateways in (("ip", wanted.outside), ("ip6", wanted.outside6)):
        for name, address in gateways:
            if address:
                yield f'	oifname "{name}" meta mark != {FROM_OUTSIDE} snat {family} to {address}'
    yield "}"


def _untracked(wanted: Translation) -> Iterator[str]:
    yield "chain untracked {\n	type filter hook prerouting priority raw; policy accept;"
    if not wanted.outside6:
        yield "	meta nfproto ipv6 notrack accept"
    if wanted.outside:
        yield f"	iifname {{ {_links(wanted.outside)} }} meta mark set {FROM_OUTSIDE} accept"
    if wanted.near:
        yield f"	meta nfproto ipv4 iifname {{ {_links(wanted.near)} }} meta mark set {FROM_NEAR} accept"
    yield "	ip daddr @inside notrack"
    if wanted.outside6:
        yield "	ip6 daddr @inside6 notrack"
    yield "}"


def _own_sources(wanted: Translation) -> Iterator[str]:
    """Who has a floating address has it where that is; who asks one from inside hears from the address it asked."""
    if wanted.outside:
        yield f"	oifname {{ {_links(wanted.outside)} }} snat ip to ip saddr map @fixed"
    for name, pairs in wanted.near:
        if pairs:
            there = ", ".join(f"{inner} : {address}" for address, inner in pairs)
            yield f'	oifname "{name}" snat ip to ip saddr map {{ {there} }}'
    others = f"{{ {FROM_OUTSIDE}, {FROM_NEAR} }}" if wanted.near else str(FROM_OUTSIDE)
    yield f"	ct status dnat meta mark != {others} snat ip to ip saddr map @fixed"
    yield f"	ct status dnat meta mark != {others} snat ip to {wanted.own or 'ct original ip daddr'}"
    if wanted.outside6:
        own = next((address for _, address in wanted.outside6 if address), "ct original ip6 daddr")
        yield f"	ct status dnat meta mark != {FROM_OUTSIDE} snat ip6 to {own}"


def _links(named: Iterable[tuple[str, object]]) -> str:
    return ", ".join(f'"{name}"' for name, _ in named)
