# SPDX-License-Identifier: Apache-2.0
"""MAC addresses."""

from __future__ import annotations

import secrets

from portico.errors import BadRequest


def generate(base: str) -> str:
    """Return a random MAC address under `base`, its first three octets, e.g. `fa:16:3e`."""
    return base + "".join(f":{octet:02x}" for octet in secrets.token_bytes(3))


def refuse_group(address: str) -> None:
    """Refuse an address of many stations: no interface can have it (IEEE 802, section 8.2.2: the I/G bit).

    Raises:
        BadRequest: the lowest bit of its first octet is set.
    """
    if int(address[:2], 16) & 1:
        raise BadRequest(
            f"Invalid input for operation: mac_address '{address}' is a group address, which no port can have: the "
            "lowest bit of its first octet is set.",
            type="InvalidInput",
        )
