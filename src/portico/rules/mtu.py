# SPDX-License-Identifier: Apache-2.0
"""How large a network's packets must be able to be."""

from __future__ import annotations

from portico.errors import BadRequest, Conflict
from portico.rules.context import Row

# RFC 791: every host must accept 576 bytes, every link carry 68; RFC 8200 section 5: 1280 for IPv6.
MIN_MTU = 68
MIN_MTU_IPV6 = 1280


def check(network: Row, mtu: int, subnets: list[Row]) -> None:
    """Refuse an MTU that is too small for any link, or for the subnets.

    Raises:
        BadRequest, Conflict: names the least that there must be.
    """
    if mtu < MIN_MTU:
        raise BadRequest(
            f"Invalid input for operation: network mtu {mtu} is below {MIN_MTU}, the least of any link.",
            type="InvalidInput",
        )
    if mtu < MIN_MTU_IPV6 and (six := [item["id"] for item in subnets if item["ip_version"] == 6]):
        raise Conflict(
            f"MTU of {network['id']} is not valid: {mtu}, subnet {six[0]} requires a minimum of {MIN_MTU_IPV6}.",
            type="NetworkMTUSubnetConflict",
        )
