# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of packets, as lines of files, without a kernel."""

from __future__ import annotations

import ipaddress
import json
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.agent import netlink, nflog, owner
from portico.agent.nflog import Packet
from portico.agent.packet_log import Pages, Teller
from portico.hoststate import Guard, HostObject, Log, Vif

BRIDGE, OTHER = 7, 2
SOURCES = {4: "192.0.2.1", 6: "2001:db8::1"}
TARGETS = {4: "192.0.2.2", 6: "2001:db8::2"}
PORTS = struct.pack(">HH", 4000, 80) + bytes(16)
MOMENT = datetime(2026, 11, 26, 12, 0, 0, 250_000, UTC)


def message(payload: bytes, version: int = 4, family: int = OTHER) -> bytes:
    """Return a message as nfnetlink_log makes it: of a bridge with its ports besides."""
    links = {4: 1, 5: 2} if family == OTHER else {4: 9, 5: 9, 6: 1, 7: 2}
    kind = {4: 0x0800, 6: 0x86DD}[version]
    return struct.pack(">BBH", family, 0, 9696) + b"".join(
        [
            netlink.attr(1, struct.pack(">HBB", kind, 2, 0)),
            netlink.text(10, "DROP ingress l"),
            *(netlink.attr(number, struct.pack(">I", link)) for number, link in links.items()),
            netlink.attr(9, payload),
        ]
    )


def ipv4(protocol: int, data: bytes, options: bytes = b"", offset: int = 0) -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, 4 * words + len(data), 0, offset, 64, protocol, 0)
    return head + b"".join(ipaddress.ip_address(one[4]).packed for one in (SOURCES, TARGETS)) + options + data


def ipv6(protocol: int, data: bytes) -> bytes:
    head = struct.pack(">IHBB", 0x60000000, len(data), protocol, 64)
    return head + b"".join(ipaddress.ip_address(one[6]).packed for one in (SOURCES, TARGETS)) + data


def read(payload: bytes, version: int) -> tuple[object, ...]:
    found = nflog.parse(message(payload, version))
    assert (found.prefix, found.came_by, found.leaves_by) == ("DROP ingress l", 1, 2)
    assert (found.source, found.destination, found.length) == (SOURCES[version], TARGETS[version], len(payload))
    return found[6:]


def test_headers_are_read_as_far_as_they_are_there() -> None:
    assert read(ipv4(6, PORTS), 4) == (6, 4000, 80)
    assert read(ipv4(17, PORTS, options=bytes(8)), 4) == (17, 4000, 80)
    assert read(ipv4(17, PORTS, offset=0x2000), 4) == (17, 4000, 80)
    assert read(ipv4(17, PORTS, offset=0x2001), 4) == (17, None, None), "it has no header of its own"
    assert read(ipv4(1, bytes([8, 0, 1, 1])), 4) == (1, 8, 0)
    assert read(ipv4(47, PORTS), 4) == (47, None, None)
    assert read(ipv4(6, b"\x01"), 4) == (6, None, None)
    assert read(ipv6(58, bytes([128, 0, 1, 1])), 6) == (58, 128, 0)
    hop_by_hop, authentication = bytes([60, 1, *[0] * 14]), bytes([17, 2, *[0] * 14])
    assert read(ipv6(0, hop_by_hop + bytes([51, *[0] * 7]) + authentication + PORTS), 6) == (17, 4000, 80)
    assert read(ipv6(44, bytes([6, 0, 0, 1, 0, 0, 0, 1]) + PORTS), 6) == (6, 4000, 80)
    assert read(ipv6(44, bytes([6, 0, 0, 9, 0, 0, 0, 1]) + PORTS), 6) == (6, None, None)


def test_on_a_bridge_its_ports_are_the_links() -> None:
    assert nflog.parse(message(ipv4(6, PORTS), family=BRIDGE))[1:3] == (1, 2)


@settings(max_examples=100)
@given(st.binary(max_size=90), st.sampled_from([4, 6]))
def test_nothing_that_is_sent_stops_the_reader(payload: bytes, version: int) -> None:
    found = nflog.parse(message(payload, version))
    assert (found.came_by, found.leaves_by) == (1, 2)


def vif(number: int, *logs: Log) -> Vif:
    return Vif(f"{number:08x}-0000-4000-8000-0", "n", "02:00:00:00:00:01", 1500, "pv", guard=Guard((), (), logs))


def test_a_line_says_whose_packet_it_was_and_what_came_meanwhile_is_looked_up() -> None:
    wanted: list[HostObject] = [vif(1, Log("l", "red", "DROP"))]
    asked: list[int] = []

    def all_wanted() -> list[HostObject]:
        asked.append(1)
        return wanted

    names = {number: owner.port_link(vif(number).port_id) for number in (1, 2)}
    teller = Teller(all_wanted, lambda link: names.get(link, ""))
    ping = Packet("DROP ingress l", 2, 1, "192.0.2.1", "192.0.2.2", 84, 1, 8, 0)
    sent = Packet("DROP egress m", 2, 1, "192.0.2.2", "192.0.2.1", 40, 200)
    stray = Packet("DROP ingress gone", 5, 6)
    (line,) = map(json.loads, teller.lines([ping, sent, stray], MOMENT))
    assert line == {
        "time": "2026-11-26T12:00:00.250Z",
        "log_id": "l",
        "project_id": "red",
        "port_id": vif(1).port_id,
        "action": "DROP",
        "direction": "ingress",
        "source": "192.0.2.1",
        "destination": "192.0.2.2",
        "protocol": "icmp",
        "icmp_type": 8,
        "icmp_code": 0,
        "length": 84,
    }
    assert len(list(teller.lines([ping] * 5, MOMENT))) == 5 and len(asked) == 1
    wanted.append(vif(2, Log("m", "blue", "ALL")))
    found = [json.loads(text) for text in teller.lines([sent, ping], MOMENT)]
    assert [(item["project_id"], item["protocol"]) for item in found] == [("blue", "200"), ("red", "icmp")]


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=25), files=st.integers(1, 3))
def test_files_are_bounded_in_size_and_number_and_end_with_what_came_last(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], files: int
) -> None:
    path = tmp_path_factory.mktemp("x") / "packets" / "n.jsonl"
    for number, size in enumerate(sizes):
        # A new writer each time, as after a restart of the agent.
        Pages(path, 12, files).write(bytes([number]) * size)
    names = [path.with_name(f"n.jsonl.{number}") for number in range(files, 0, -1)] + [path]
    assert not names[0].exists()
    kept = b"".join(name.read_bytes() for name in names if name.exists())
    assert b"".join(bytes([number]) * size for number, size in enumerate(sizes)).endswith(kept)
    assert len(kept) >= sizes[-1]
    assert all(name.stat().st_size <= 12 for name in names if name.exists())
    assert path.stat().st_mode & 0o007 == 0


def test_a_file_that_somebody_takes_away_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "packets" / "n.jsonl"
    pages = Pages(path, 100, 2)
    pages.write(b"a\n")
    path.unlink()
    pages.write(b"b\n")
    assert path.read_bytes() == b"b\n"
