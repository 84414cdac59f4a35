# SPDX-License-Identifier: Apache-2.0
"""What is led to the ports of the routed space. Pure."""

from __future__ import annotations

from collections.abc import Collection

from portico.agent.delta import Wanted
from portico.hoststate import ROUTED, Vif


def is_led(vif: Vif) -> bool:
    """Tell whether anything is led to a VIF: a port that is not to get packets has no routes."""
    return vif.network_id == ROUTED and vif.admin_up


def may_send_ipv6(vif: Vif) -> bool:
    """Tell whether a port has a use for the next hop of IPv6; to answer for it costs more than its routes.

    Also one without such addresses: it may send what its pairs allow, without port security anything, and a machine
    may ask for its configuration.
    """
    if vif.guard is None or vif.plug == "tap":
        return True
    cidrs = (*vif.routes, *vif.shared_routes, *(source.cidr for source in vif.guard.sources))
    return any(":" in cidr for cidr in cidrs)


def shared(wanted: Wanted, cidrs: Collection[str]) -> dict[str, list[str]]:
    """Return which of these CIDRs each port gets: those that are no port's own, and of several the first by id."""
    if not cidrs:
        return {}
    vifs = [vif for vif in wanted.of(Vif) if is_led(vif)]
    taken = {cidr for vif in vifs for cidr in vif.routes}
    found: dict[str, list[str]] = {}
    for vif in sorted(vifs, key=lambda vif: vif.port_id):
        for cidr in vif.shared_routes:
            if cidr in cidrs and cidr not in taken:
                taken.add(cidr)
                found.setdefault(vif.port_id, []).append(cidr)
    return found
