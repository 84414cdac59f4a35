# SPDX-License-Identifier: Apache-2.0
"""BIRD's configuration as text. Pure.

Sources: BIRD 2.0.12 User's Guide, bird(8); RFC 4271 (BGP), 4456 (reflectors), 4724 (graceful restart), 5880 (BFD),
8092 (large communities). What the guide does not tell is in docs/bgp.md, with how it was found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from portico.agent import addresses, owner
from portico.hoststate import Peer, Speaker

CONFIG, CONTROL, PID, LOG = "bird.conf", "bird.ctl", "bird.pid", "log/bird.log"

HOLD_S = 9
GRACEFUL_RESTART_S = 30
"""How long a peer keeps the routes of a host whose BIRD said nothing of an end; BFD, where it is on, ends that."""
RECOVERY_S = 5
"""How long a BIRD that was started again waits for all peers before it takes stale routes out of the kernel."""
SCAN_S = 10
PASSWORD_MAX = 80
"""TCP_MD5SIG_MAXKEYLEN in the kernel's tcp.h."""
ASN_MAX = 0xFFFFFFFF
_LOG_MAX = 1 << 20
# Of unread news of the kernel's routes, in bytes: what is lost there is found by a scan, which is seconds later.
_NEWS_MAX = 1 << 23
_DIGITS = 16

# What is no route to anybody's address (RFC 6890): "this network", loopback, link-local, multicast and what is beyond.
_NEVER = {
    4: ("0.0.0.0/8+", "127.0.0.0/8+", "169.254.0.0/16+", "224.0.0.0/3+"),
    6: ("::/8+", "fe80::/10+", "ff00::/8+"),
}
_DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}
_IN_QUOTES = re.compile(r"[ !#-~]+")
_COMMUNITY = re.compile(r"\d+(:\d+){1,2}")


Routes = Sequence[tuple[str, str]]
"""Ranges, each with the address of its next hop."""


def config(
    speaker: Speaker, peers: Collection[Peer], folder: str, behind: Mapping[str, Routes] = MappingProxyType({})
) -> str:
    """Return the configuration file; `digest` tells of it which one a process has.

    `behind` has what speakers outside are told of routers, by their addresses.

    Raises:
        ValueError: something of the speaker, or of a peer, cannot be written into it.
    """
    lines = [*_head(speaker, folder), *_static(speaker)]
    lines += _behind(pair for peer in peers if peer.role == "outside" for pair in behind.get(peer.address, ()))
    for version in (4, 6):
        lines += _kernel(version)
    for peer in sorted(peers, key=lambda peer: peer.address):
        lines += _peer(speaker, peer, behind.get(peer.address, ()))
    return marked("\n".join(lines) + "\n")


def marked(text: str) -> str:
    """Return a configuration with what `digest` tells it by."""
    return f"{text}define {_mark(text)} = 1;\n"


def log_line(folder: str) -> str:
    """Return what has BIRD keep a log."""
    kinds = "info, remote, warning, error, auth, fatal, bug"
    return f'log "{folder}/{LOG}" {_LOG_MAX} "{folder}/{LOG}.1" {{ {kinds} }};'


def digest(text: str) -> str:
    """Return the name of the constant that a configuration defines for nothing but to tell it from others."""
    found = re.search(r"^define (config_[0-9a-f]+) = 1;$", text, re.MULTILINE)
    return found[1] if found else ""


def sessions(text: str) -> dict[str, bool]:
    """Return from the answer to `show protocols` the address of each peer, and whether its session is up."""
    words = [line.split() for line in text.splitlines()]
    return {_address_of(row[0]): row[-1] == "Established" for row in words if row[1:2] == ["BGP"]}


def _address_of(name: str) -> str:
    """Return the address of a peer by its protocol's name."""
    parts = name.split("_")[1:]
    return str(addresses.address((":" if len(parts) == 8 else ".").join(parts), "protocol"))


def fault(speaker: Speaker, peer: Peer, behind: Routes = ()) -> str:
    """Return what keeps a peer out of the configuration; empty if nothing does."""
    try:
        _peer(speaker, peer, behind)
    except ValueError as error:
        return str(error)
    return ""


def _mark(text: str) -> str:
    return f"config_{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}"


def _head(speaker: Speaker, folder: str) -> Iterator[str]:
    every = f"{speaker.bfd_interval_ms} ms"
    bfd = f"min rx interval {every}; min tx interval {every}; multiplier 3;"
    yield "# Written by Portico's agent, which undoes changes."
    yield log_line(folder)
    yield f"router id {addresses.address(speaker.router_id, 'router_id')};"
    yield f"graceful restart wait {RECOVERY_S};"
    # BIRD does what its own timers bring up only when something else wakes it: hence something every second.
    yield "protocol device { scan time 1; }"
    yield "protocol direct { ipv4; ipv6; }"
    yield f'protocol bfd {{ interface "*" {{ {bfd} }}; multihop {{ {bfd} }}; }}'
    yield f"function is_port() {{ return defined(krt_source) && krt_source = {owner.PROTOCOL} && net.len > 0; }}"
    yield 'function is_block() { return source = RTS_STATIC && proto ~ "blocks*"; }'
    yield 'function is_behind() { return source = RTS_STATIC && proto ~ "behind*"; }'
    yield 'function is_hosts() { return source = RTS_BGP && proto ~ "host_*"; }'


def _static(speaker: Speaker) -> Iterator[str]:
    """Yield the blocks: what is in one and no port's goes nowhere, rather than back to where it came from."""
    for version in (4, 6):
        blocks = _cidrs(speaker.blocks, version, "blocks")
        routes = " ".join(f"route {block} blackhole;" for block in blocks)
        if blocks:
            yield f"protocol static blocks{version} {{ ipv{version}; {routes} }}"


def _behind(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield what is behind routers: to be told of only, so that the kernel does not hear of it."""
    nets = [net for net, _ in pairs]
    for version in (4, 6):
        if mine := _cidrs(nets, version, "behind"):
            routes = " ".join(f"route {net} unreachable;" for net in mine)
            yield f"protocol static behind{version} {{ ipv{version}; {routes} }}"


def _kernel(version: int) -> Iterator[str]:
    yield f"protocol kernel kernel{version} {{"
    yield f"  learn; persist; graceful restart; scan time {SCAN_S}; metric {owner.BGP_METRIC};"
    yield f"  netlink rx buffer {_NEWS_MAX};"
    # Everything is learnt, for next hops behind a router are looked up in it; it comes before what a peer says, or a
    # port that is here would be looked for on the host from which it just came.
    yield f"  ipv{version} {{ preference 250; import all; export where source = RTS_BGP || is_block(); }};"
    yield "}"


def _peer(speaker: Speaker, peer: Peer, behind: Routes) -> list[str]:
    address = addresses.address(peer.address, f"peer {peer.address}: address")
    own = _own(speaker, peer, address.version)
    asns = {"asn": peer.asn, "local_asn": peer.local_asn or speaker.asn}
    for attribute, asn in asns.items():
        if not 0 < asn <= ASN_MAX:
            raise ValueError(f"peer {peer.address}: {attribute} {asn} is not an AS number of 1 to {ASN_MAX}")
    # A name stays with its peer whatever others come and go: one that changed would end the session.
    name = f"{_kind(peer)}_{address.exploded.replace('.', '_').replace(':', '_')}"
    reach = "direct" if peer.direct else "multihop"
    lines = [
        f"protocol bgp {name} {{",
        f"  local {own} as {asns['local_asn']}; neighbor {address} as {peer.asn};",
        f"  {reach}; strict bind yes; free bind yes; bfd {'on' if peer.bfd else 'off'};",
        f"  hold time {HOLD_S}; connect delay time 1; connect retry time 1;",
        "  error wait time 1, 5; error forget time 10;",
        f"  graceful restart {'on' if peer.graceful_restart else 'off'}; graceful restart time {GRACEFUL_RESTART_S};",
    ]
    if peer.password:
        lines.append(f'  password "{_password(peer)}";')
    if peer.role == "client":
        lines.append("  rr client;")
    imported, exported = _filters(speaker, peer, address.version, own, behind)
    return [
        *lines,
        f"  ipv{address.version} {{",
        *(["    gateway recursive;"] if peer.role != "outside" else []),
        f"    import filter {{ {imported} }};",
        f"    export filter {{ {exported} }};",
        "  };",
        "}",
    ]


def _kind(peer: Peer) -> str:
    return "outside" if peer.role == "outside" else "host"


def _own(speaker: Speaker, peer: Peer, version: int) -> str:
    """Return the address that a peer is talked to from."""
    for text in speaker.addresses:
        own = addresses.address(text, "addresses")
        if own.version == version:
            return str(own)
    raise ValueError(f"peer {peer.address}: the host has no IPv{version} address in the underlay to talk from")


def _filters(speaker: Speaker, peer: Peer, version: int, own: str, behind: Routes) -> tuple[str, str]:
    """Return what is done with each route that a peer tells of, and with each that it may be told of."""
    blocks = _cidrs(speaker.blocks, version, "blocks")
    refused = [*_NEVER[version]]
    ours = "(is_port() || is_block())"
    if blocks:
        ours = f"(is_port() && !(net ~ {_set(blocks, '+')}) || is_block())"
    if not peer.accept_default:
        refused.append(_DEFAULT[version])
    if peer.role == "outside":
        if not peer.accept_own:
            refused += [f"{cidr}+" for cidr in _cidrs(speaker.prefixes, version, "prefixes")]
        announced = _cidrs(peer.announce, version, f"peer {peer.address}: announce")
        marks = _marks(peer)
        yes = f"bgp_next_hop = {own}; {marks}accept;"
        told = f"if {ours} && net ~ {_set(announced, '+')} then {{ {yes} }} " if announced else ""
        for hop, nets in _by_next_hop(behind, version):
            told += f"if is_behind() && net ~ {_set(nets)} then {{ bgp_next_hop = {hop}; {marks}accept; }} "
    else:
        refused += blocks
        # Ours has a next hop that only this host can reach; what is passed on keeps its own.
        told = f"if {ours} then {{ bgp_next_hop = {own}; accept; }} if is_hosts() then accept; "
    return f"if net ~ {_set(refused)} then reject; accept;", f"{told}reject;"


def _by_next_hop(behind: Routes, version: int) -> Iterator[tuple[str, list[str]]]:
    """Yield next hops of one IP version, in order, with what is behind each."""
    found: dict[str, list[str]] = {}
    for net, hop in behind:
        found.setdefault(str(addresses.address(hop, "behind")), []).append(net)
    for hop, nets in sorted(found.items()):
        if mine := _cidrs(nets, version, "behind"):
            yield hop, mine


def _marks(peer: Peer) -> str:
    """Return what adds a peer's communities."""
    words = []
    for text in peer.communities:
        numbers = [int(number) for number in text.split(":")] if _COMMUNITY.fullmatch(text) else []
        kind, largest = ("bgp_community", 0xFFFF) if len(numbers) == 2 else ("bgp_large_community", 0xFFFFFFFF)
        if not numbers or max(numbers) > largest:
            raise ValueError(
                f"peer {peer.address}: community {text!a} is neither two numbers of 0 to 65535 with a colon between, "
                "nor three of 0 to 4294967295"
            )
        words.append(f"{kind}.add(({', '.join(map(str, numbers))})); ")
    return "".join(words)


def _password(peer: Peer) -> str:
    if not _IN_QUOTES.fullmatch(peer.password) or len(peer.password) > PASSWORD_MAX:
        raise ValueError(
            f"peer {peer.address}: the password is not 1 to {PASSWORD_MAX} printable ASCII characters without a "
            "quotation mark"
        )
    return peer.password


def _set(cidrs: Iterable[str], suffix: str = "") -> str:
    return f"[{', '.join(f'{cidr}{suffix}' for cidr in cidrs)}]"


def _cidrs(texts: Iterable[str], version: int, attribute: str) -> list[str]:
    """Return the networks of one IP version, in an order that does not depend on theirs."""
    nets = {addresses.network(text, attribute) for text in texts}
    return [str(net) for net in sorted((net for net in nets if net.version == version), key=str)]
