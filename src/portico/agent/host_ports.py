# SPDX-License-Identifier: Apache-2.0
"""Whether ports of the host can be published: a program may have them."""

from __future__ import annotations

from portico import host_port
from portico.agent import kernel


class HostPorts:
    """Ports of the namespace that `netns` describes."""

    def __init__(self, netns: int) -> None:
        self._netns = netns

    def obstacle(self, protocol: str, addresses: tuple[str, ...], ports: tuple[int, int]) -> str:
        """Return why ports, first to last, of addresses cannot be published; empty if they can be."""

        def look() -> str:
            tries = ((address, port) for address in addresses for port in range(ports[0], ports[1] + 1))
            found = (host_port.obstacle(protocol, address, port) for address, port in tries)
            return next((why for why in found if why), "")

        return kernel.within(self._netns, look)
