# SPDX-License-Identifier: Apache-2.0
"""The nftables rules of a host: which sets, map elements and chains each wanted object needs, and the text of a
change. Pure.

A port costs elements of sets and maps only. Ports with the same groups share one policy chain for each direction,
which jumps to one chain for each group; so a rule change rewrites one chain, however many ports it concerns.
What a bridge passes on is filtered in the table `bridge portico`, what is routed in `inet portico`. A chain calls none
of another table, so groups may be in both; names of what is in the latter begin with `INET` here. `ruleset` puts the
fragments together; docs/design/security.md tells the way of a packet through the chains in `skeleton.nft`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from portico.agent import addresses, owner, related, router_rules, rules, scopes
from portico.agent.addresses import Net
from portico.agent.delta import Wanted
from portico.agent.policies import Policy, group_chain, policy_chain
from portico.hoststate import ROUTED, Bridge, Dhcp, Group, HostObject, Limit, Member, Qos, Router, Space, Uplink, Vif

UNGUARDED = 0x40000
METERED = 0x80000
"""Bits of the packet mark: sent by a port without port security, or by one whose packets are counted or marked."""

INET = "inet/"

ESTABLISHED = "established"
SHORT_WAY = {
    "": tuple(f'meta l4proto {protocol} oifname "p*" accept' for protocol in ("tcp", "icmp")),
    INET: ("accept",),
}
"""The chain that lets tracked packets pass early, and its rules by table; none while a port has only stateless groups,
or what it receives is counted."""

HOOKS = {
    f"{INET}arriving": "type nat hook prerouting priority dstnat; policy accept;",
    f"{INET}left": "type filter hook forward priority filter; policy accept;",
    f"{INET}leaving": "type nat hook postrouting priority srcnat; policy accept;",
    f"{INET}{scopes.CHAIN}": scopes.HOOK,
    f"{INET}{related.CHAIN}": related.HOOK,
}
TRANSLATION = {
    f"{INET}arriving": (
        "meta mark & 0xffff != 0 accept",
        "dnat ip addr . port to ip daddr . meta l4proto . th dport map @ports",
        "dnat ip to ip daddr . meta l4proto . th dport map @ranges",
        "dnat ip to ip daddr map @floating",
    ),
    f"{INET}left": ("ip daddr @outer drop",),
    f"{INET}leaving": (
        "ct status dnat snat ip to ip saddr . ip daddr map @itself",
        "oifname . ip daddr @inside accept",
        f'oifname "{owner.SPACE_LINK}" snat ip to ip saddr map @fixed',
    ),
}
"""The chains that translate floating addresses, with their hooks and rules: there while any port has one."""


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a set or map; in a set its value is empty."""

    container: str
    key: str


@dataclass(frozen=True, slots=True)
class Network:
    """A range of addresses in an interval set, at the end of a concatenation with the fixed part `scope`."""

    container: str
    scope: str
    cidr: str


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one wanted object adds to the rules.

    `policies` are those of ports, `members` groups whose member sets must exist (`INET` before those of that table),
    `chains` are a group's or a metered port's, `stateful` is a group's, `owned` are the addresses of a guarded port,
    each with its zone, and some elements translate floating addresses if it `translates`; `counted` is the table in
    which all that a port receives is counted, and `helpers` names objects of `related`.
    """

    elements: Mapping[Element, str] = field(default_factory=dict)
    networks: frozenset[Network] = frozenset()
    policies: frozenset[Policy] = frozenset()
    members: frozenset[str] = frozenset()
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stateful: bool = True
    owned: frozenset[tuple[int, Net]] = frozenset()
    translates: bool = False
    counted: frozenset[str] = frozenset()
    helpers: frozenset[str] = frozenset()


def fragment(item: HostObject, wanted: Wanted) -> Fragment | None:
    """Return what `item` adds; None when it has no part in the rules.

    Raises:
        ValueError: an address in it is not one.
    """
    match item:
        case Bridge() if item.network_id in wanted.zones:
            zone = wanted.zones[item.network_id]
            number = {Element(f"{INET}zone_numbers", f"{zone:#x}"): str(zone)}
            outside = _open_fragment("", owner.segment_link(item.network_id), zone) if item.physical_network else None
            return Fragment({**number, **(outside.elements if outside else {})})
        case Space():
            return _space_fragment(item, _open_fragment(INET, owner.SPACE_LINK, wanted.zones[ROUTED]))
        case Vif() if item.network_id in wanted.zones:
            return _translate(item, _port_fragment(item, wanted.zones[item.network_id]))
        case Dhcp() if item.network_id in wanted.zones:
            name = owner.dhcp_link(item.network_id)
            return _open_fragment("", name, wanted.zones[item.network_id])
        case Uplink() if item.network_id in wanted.zones:
            return _uplink_fragment(owner.uplink_link(item.network_id), wanted.zones[item.network_id])
        case Router():
            return _router_fragment(item, wanted)
        case Group():
            return _group_fragment(item, ("", INET) if ROUTED in wanted.zones else ("",))
        case Member() if item.network_id in wanted.zones:
            return _member_fragment(item, wanted.zones[item.network_id])
        case _:
            return None


def fragments(wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Fragment], dict[str, str]]:
    """Return what the wanted objects under `keys` add, and what is wrong with those that no rules can be made of."""
    pieces = {}
    faults = {}
    for key in keys:
        try:
            piece = fragment(wanted.objects[key], wanted) if key in wanted.objects else None
        except ValueError as error:
            faults[key] = f"{key}: {error}"
            continue
        if piece is not None:
            pieces[key] = piece
    return pieces, faults


def _open_fragment(table: str, name: str, zone: int) -> Fragment:
    link = f'"{name}"'
    return Fragment(
        elements={
            Element(f"{table}zones", link): f"{zone | UNGUARDED:#x}",
            Element(f"{table}egress", link): rules.YES["egress"],
            Element(f"{table}ingress", link): rules.YES["ingress"],
        }
    )


def _uplink_fragment(name: str, zone: int) -> Fragment:
    piece = _open_fragment("", name, zone)
    return replace(piece, elements={**piece.elements, Element("ingress", f'"{name}"'): "goto to_host"})


def _space_fragment(space: Space, piece: Fragment) -> Fragment:
    """Add to the fragment of the link to the host which addresses need no translation beyond it, and the scopes."""
    elements, networks = dict(piece.elements), set[Network]()
    for number, cidr in enumerate(space.known):
        net = addresses.network(cidr, f"known[{number}]")
        if net.version == 4:
            exact, ranges = _place(f"{INET}inside", f"{INET}inside", f'"{owner.SPACE_LINK}"', net, "")
            elements |= exact
            networks |= ranges
    chains = {f"{INET}{name}": rows for name, rows in scopes.chains(space).items()}
    return replace(piece, elements=elements, networks=frozenset(networks), chains=chains)


def _translate(vif: Vif, piece: Fragment) -> Fragment:
    """Add to a port's fragment its floating addresses, and the ports of such that are led to it."""
    if not vif.admin_up or not (vif.floating or vif.forwards):
        return piece
    elements = dict(piece.elements)
    pairs = [(it.address, it.fixed) for it in vif.forwards] + [(it.address, it.fixed) for it in vif.floating]
    for address, fixed in (tuple(map(router_rules.ipv4, pair)) for pair in pairs):
        elements[Element(f"{INET}itself", f"{fixed} . {fixed}")] = address
        if f"{address}/32" in vif.routes:  # of several ports that it is led to, one has it
            elements[Element(f"{INET}outer", address)] = ""
    for item in vif.floating:
        address, fixed = (router_rules.ipv4(text) for text in (item.address, item.fixed))
        elements[Element(f"{INET}floating", address)] = fixed
        if item.known:
            elements[Element(f"{INET}fixed", fixed)] = address
    ports, ranges = router_rules.forwards(vif.forwards)
    for address, number, port, fixed, to in ports:
        elements[Element(f"{INET}ports", f"{address} . {number} . {port}")] = f"{fixed} . {to}"
    for address, number, first, last, fixed in ranges:
        elements[Element(f"{INET}ranges", f"{address} . {number} . {first}-{last}")] = fixed
    return replace(piece, elements=elements, translates=True)


def untranslated(before: Fragment, now: Fragment) -> Iterator[str]:
    """Yield the floating addresses that are not translated any more as they were."""
    names = {f"{INET}{name}" for name in ("floating", "fixed", "ports", "ranges")}
    for element, value in before.elements.items() if before.translates else ():
        if element.container in names and now.elements.get(element) != value:
            yield value if element.container == f"{INET}fixed" else element.key.partition(" ")[0]


def _router_fragment(router: Router, wanted: Wanted) -> Fragment:
    """Return what lets a router's legs take part: they are trusted, for what passes was sent by ports.

    What helpers find out there, the rules of ports have to know as well.
    """
    elements: dict[Element, str] = {}
    named: set[str] = set()
    for leg in router.legs:
        if leg.network_id not in wanted.zones:
            continue
        elements |= _open_fragment("", owner.leg_link(leg.port_id), wanted.zones[leg.network_id]).elements
        for key, name in related.keys(router.helpers, owner.bridge_name(leg.network_id), leg.mac):
            elements.setdefault(Element(f"{INET}{related.MAP}", key), f"goto {related.chain(name)}")
            named.add(name)
    return Fragment(elements=elements, helpers=frozenset(named))


def _port_fragment(vif: Vif, zone: int) -> Fragment:
    name = owner.port_link(vif.port_id)
    table = INET if vif.network_id == ROUTED else ""
    if not vif.admin_up:
        return Fragment()
    if vif.guard is None:
        return _meter(vif, table, _open_fragment(table, name, zone))
    link = f'"{name}"'
    policy = Policy(table, tuple(sorted(set(vif.guard.group_ids))), vif.guard.logs)
    elements = {
        Element(f"{table}zones", link): f"{zone:#x}",
        Element(f"{table}egress", link): f"goto {policy_chain('egress', policy)}",
        Element(f"{table}ingress", link): f"goto {policy_chain('ingress', policy)}",
    }
    networks: set[Network] = set()
    allowed = sources(vif)
    for mac, net in allowed:
        elements[Element(f"{table}macs", f"{link} . {mac}")] = ""
        exact, ranges = _source(table, f"{link} . {mac}", zone, net)
        elements |= exact
        networks |= ranges
        if net.version == 6 and table != INET:
            exact, ranges = _answer(link, net)
            elements |= exact
            networks |= ranges
    owned = frozenset((zone, net) for _, net in allowed)
    return _meter(vif, table, Fragment(elements, frozenset(networks), frozenset({policy}), owned=owned))


def meter_chain(direction: str, port_id: str) -> str:
    """Return the name of the chain that counts or marks a port's packets of one direction."""
    return f"meter-{direction}-{port_id}"


def _meter(vif: Vif, table: str, piece: Fragment) -> Fragment:
    """Add to a port's fragment what counts and marks its packets.

    What is sent is looked at before anything else of `send`, which takes the bit in every mark that the port's packets
    may get; what is received on the way to the port's groups.
    """
    qos, link = vif.qos or Qos(), f'"{owner.port_link(vif.port_id)}"'
    elements, chains = dict(piece.elements), {}
    sent = [_over(qos.egress_packets)] if qos.egress_packets else []
    if qos.dscp is not None:
        sent += [f"{protocol} dscp set {qos.dscp}" for protocol in ("ip", "ip6")]
    if sent:
        marks = {element: value for element, value in elements.items() if value.startswith("0x")}
        elements |= {element: f"{int(value, 0) | METERED:#x}" for element, value in marks.items()}
        name = meter_chain("egress", vif.port_id)
        elements[Element(f"{table}metered", link)] = f"jump {name}"
        chains[f"{table}{name}"] = tuple(sent)
    if qos.ingress_packets:
        name, judge = meter_chain("ingress", vif.port_id), Element(f"{table}ingress", link)
        chains[f"{table}{name}"] = (_over(qos.ingress_packets), elements[judge])
        elements[judge] = f"goto {name}"
    counted = frozenset({table} if qos.ingress_packets else ())
    return replace(piece, elements=elements, chains=chains, counted=counted) if chains else piece


def _over(limit: Limit) -> str:
    """Return the rule that drops packets beyond a limit; a burst that is not given is a tenth of a second's."""
    burst = limit.burst or max(limit.rate // 10, 1)
    return f"limit rate over {limit.rate}/second burst {burst} packets drop"


def sources(vif: Vif) -> list[tuple[str, Net]]:
    """Return what a guarded port may send from: what it was given, and the link-local address of each MAC address.

    Raises:
        ValueError: an address in it is not one.
    """
    if vif.guard is None:
        return []
    given = [
        (addresses.mac(source.mac, f"{name}.mac"), addresses.network(source.cidr, f"{name}.cidr"))
        for name, source in ((f"guard.sources[{number}]", each) for number, each in enumerate(vif.guard.sources))
    ]
    macs = sorted({addresses.mac(vif.mac, "mac"), *(mac for mac, _ in given)})
    return given + [(mac, ipaddress.IPv6Network((addresses.link_local(mac), 128))) for mac in macs]


def _source(table: str, scope: str, zone: int, net: Net) -> tuple[dict[Element, str], set[Network]]:
    """Return what lets a port send from `net`; `scope` is its link with the MAC address that it has to have."""
    name = f"{table}src{net.version}"
    return _place(name, f"{table}srcn{net.version}", scope, net, f"{zone:#x}")


def _answer(link: str, net: Net) -> tuple[dict[Element, str], set[Network]]:
    """Return what lets a port of a bridge answer for `net` in IPv6."""
    return _place("nd6", "ndn6", link, net, "")


def _place(single: str, ranges: str, scope: str, net: Net, value: str) -> tuple[dict[Element, str], set[Network]]:
    """Return `net` as an element of the set for addresses, or of the one for ranges."""
    if net.prefixlen == net.max_prefixlen:
        return {Element(single, f"{scope} . {literal(single, net)}"): value}, set()
    return {}, {Network(ranges, scope, str(net))}


def literal(container: str, net: Net) -> str:
    """Return addresses as a set wants them: ND targets are read as raw bytes (nft 1.0.6 has no `icmpv6 taddr`)."""
    first = net.network_address
    if net.prefixlen == net.max_prefixlen:
        return f"{int(first):#034x}" if container in ("nd6", "ndn6") else str(first)
    if container in ("nd6", "ndn6"):
        return f"{int(first):#034x}-{int(net.broadcast_address):#034x}"
    return str(net)


def _group_fragment(group: Group, tables: Collection[str]) -> Fragment:
    chains: dict[str, tuple[str, ...]] = {}
    for table in tables:
        lines: dict[str, dict[str, None]] = {"ingress": {}, "egress": {}}
        for number, rule in enumerate(group.rules):
            try:
                lines[rule.direction] |= dict.fromkeys(rules.lines(rule, routed=table == INET))
            except ValueError as error:
                raise ValueError(f"rules[{number}].{error}") from error
        chains |= {
            f"{table}{group_chain(direction, group.group_id)}": tuple(found) for direction, found in lines.items()
        }
    remotes = {rule.remote_group_id for rule in group.rules if rule.remote_group_id is not None}
    members = frozenset(f"{table}{group_id}" for table in tables for group_id in remotes)
    return Fragment(chains=chains, members=members, stateful=group.stateful)


def _member_fragment(member: Member, zone: int) -> Fragment:
    net = addresses.network(member.cidr, "cidr")
    table = INET if member.network_id == ROUTED else ""
    single, ranges = (
        f"{table}{name(member.group_id, str(net.version))}" for name in (rules.member_set, rules.member_net_set)
    )
    elements, networks = _place(single, ranges, f"{zone:#x}", net, "")
    return Fragment(elements, frozenset(networks), members=frozenset({f"{table}{member.group_id}"}))
