# SPDX-License-Identifier: Apache-2.0
"""Allowed address pairs of ports."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

from portico.errors import BadRequest
from portico.model.address import read_interface
from portico.rules.context import Row

MAX_ADDRESS_PAIRS = 10


def complete(row: Row, pairs: Sequence[Row]) -> list[Row]:
    """Return address pairs with their MAC address filled in."""
    if len(pairs) > MAX_ADDRESS_PAIRS:
        raise BadRequest(
            f"The number of allowed address pair exceeds the maximum {MAX_ADDRESS_PAIRS}.",
            type="AllowedAddressPairExhausted",
        )
    complete = [
        {"mac_address": pair.get("mac_address") or row["mac_address"], "ip_address": _plain(pair["ip_address"])}
        for pair in pairs
    ]
    seen: set[tuple[str, Any]] = set()
    for pair in complete:
        key = (pair["mac_address"], ip_network(pair["ip_address"], strict=False))
        if key in seen:
            raise BadRequest(
                f"Request contains duplicate address pair: mac_address {pair['mac_address']} ip_address "
                f"{pair['ip_address']}.",
                type="DuplicateAddressPairInRequest",
            )
        seen.add(key)
    return complete


def _plain(text: str) -> str:
    """Return an address or a range with its mask as a length."""
    interface = read_interface(text)
    return str(interface if "/" in text else interface.ip) if interface else text
