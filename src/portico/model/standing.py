# SPDX-License-Identifier: Apache-2.0
"""Floating IPs in the routed space: which port each is led to, by a route of its own. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from portico.model.snapshot import DHCP_OWNER, FloatingIp, Port, PortForwarding, Snapshot


def forwardings(want: Snapshot, floating: FloatingIp) -> Iterator[PortForwarding]:
    """Yield the port forwardings of a floating IP that are its own: others are those of a host's addresses alone."""
    for forwarding_id in sorted(want.forwardings_of_floating_ip.get(floating.id, ())):
        item = want.forwardings[forwarding_id]
        if not item.host_addresses:
            yield item


def holder(want: Snapshot, floating: FloatingIp) -> Port | None:
    """Return the port that a floating IP is led to: the one that it stands for, if that is on a host and switched on.

    Of those that its port forwardings lead to it is the first by id; only those on the same host are reached by it.
    """
    router = want.routers.get(floating.router_id)
    if router is None or not router.admin_state_up:
        return None
    ids = [floating.port_id] if floating.port_id else sorted(item.port_id for item in forwardings(want, floating))
    ports = (want.ports[port_id] for port_id in ids if port_id in want.ports)
    return next((port for port in ports if _is_routed(want, port)), None)


def _is_routed(want: Snapshot, port: Port) -> bool:
    network = want.networks.get(port.network_id)
    is_up = network is not None and network.admin_state_up and port.admin_state_up
    return is_up and bool(port.host) and port.device_owner != DHCP_OWNER
