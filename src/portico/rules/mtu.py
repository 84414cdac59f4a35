# SPDX-License-Identifier: Apache-2.0
"""How large a network's packets must be able to be."""

from __future__ import annotations

from portico.errors import Conflict
from portico.model.snapshot import MIN_MTU
from portico.rules.context import Row

# RFC 8200 section 5.
MIN_MTU_IPV6 = 1280


def check(network: Row, mtu: int, subnets: list[Row]) -> None:
    """Refuse an MTU that is too small for the subnets; one too small for any link is only a wish without them.

    Raises:
        Conflict: names the subnet and the least that it needs.
    """
    for version, least in ((4, MIN_MTU), (6, MIN_MTU_IPV6)):
        needing = [item["id"] for item in subnets if item["ip_version"] == version]
        if mtu < least and needing:
            raise Conflict(
                f"MTU of {network['id']} is not valid: {mtu}, subnet {needing[0]} requires a minimum of {least}.",
                type="NetworkMTUSubnetConflict",
            )
