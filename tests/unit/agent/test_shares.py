# SPDX-License-Identifier: Apache-2.0
"""What finds an address its share of a link: the program is run here as the kernel would."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.agent.shaper import shape
from portico.agent.shares import MOST, division
from portico.hoststate import Limit

AT_ONCE = 0x10000
A, B, C = (IPv4Address(f"203.0.113.{number}") for number in (1, 2, 3))


def answer(program: bytes, frame: bytes) -> int:
    """Return what a classic BPF program answers (`Documentation/networking/filter.rst`)."""
    steps, at, accumulator = list(struct.iter_unpack("=HBBI", program)), 0, 0
    while True:
        code, yes, no, value = steps[at]
        match code:
            case 0x28 | 0x20 | 0x30:
                size = {0x28: 2, 0x20: 4, 0x30: 1}[code]
                if value + size > len(frame):
                    return 0
                accumulator = int.from_bytes(frame[value : value + size], "big")
                at += 1
            case 0x15:
                at += 1 + (yes if accumulator == value else no)
            case 0x35:
                at += 1 + (yes if accumulator >= value else no)
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"code {code:#x} is not known")


def packet(source: IPv4Address, target: IPv4Address) -> bytes:
    return bytes(12) + b"\x08\x00" + bytes(12) + source.packed + target.packed


def packet6(header: int, kind: int = 0) -> bytes:
    return bytes(12) + b"\x86\xdd" + bytes(6) + bytes([header]) + bytes(33) + bytes([kind]) + bytes(7)


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.integers(0, 40), st.none() | st.integers(1, 9), max_size=30),
    st.none() | st.integers(1, 9),
    st.booleans(),
)
def test_each_packet_finds_the_share_of_its_address(
    limits: dict[int, int | None], rest: int | None, sends: bool
) -> None:
    wanted = [(None, rest), *((IPv4Address(0xCB007100 + number), rate) for number, rate in limits.items())]
    shares = [(address, shape(Limit(rate), 1500) if rate else None) for address, rate in wanted]
    found = division(shares, sends=sends)
    assert len(found.classes) == sum(1 for _, rate in wanted if rate)
    for number in range(42):
        mine = IPv4Address(0xCB007100 + number)
        frame = packet(mine, IPv4Address(0)) if sends else packet(IPv4Address(0), mine)
        rate, said = limits.get(number, rest), answer(found.program, frame)
        assert (said == AT_ONCE) == (rate is None)
        if rate is not None:
            assert found.classes[said - AT_ONCE - 1][0] == rate * 125


def test_what_is_no_ipv4_has_the_share_of_the_rest_but_for_what_keeps_the_link_alive() -> None:
    found = division([(A, shape(Limit(1), 1500)), (None, shape(Limit(2), 1500))], sends=True)
    assert answer(found.program, packet6(6)) == answer(found.program, packet(B, C)) == AT_ONCE + 2
    assert {kind: answer(found.program, packet6(58, kind)) for kind in (128, 132, 138)} == dict.fromkeys(
        (128, 132, 138), AT_ONCE + 2
    )
    assert {answer(found.program, packet6(58, kind)) for kind in range(133, 138)} == {AT_ONCE}
    assert answer(found.program, bytes(12) + b"\x08\x06" + bytes(28)) == AT_ONCE
    assert str(found) == "203.0.113.1 1 kbit/s, else 2 kbit/s"
    assert str(division([(A, None), (B, shape(Limit(9), 68))], sends=False)) == (
        "203.0.113.1 unlimited, 203.0.113.2 9 kbit/s, else unlimited"
    )


def test_more_than_a_program_can_tell_apart_are_refused() -> None:
    one = shape(Limit(1), 1500)
    most = [(IPv4Address(number), one) for number in range(MOST)]
    assert len(division(most, sends=True).program) // 8 < 4096
    with pytest.raises(ValueError, match=f"{MOST + 1} addresses"):
        division([*most, (A, one)], sends=True)
