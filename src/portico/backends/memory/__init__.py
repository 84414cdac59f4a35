# SPDX-License-Identifier: Apache-2.0
"""Networks in memory: the reference backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portico.admission import refuse_undeclared
from portico.backends.memory import plan
from portico.backends.memory.fabric import Fabric, Piece
from portico.contract import FEATURES, Binding, Capabilities, Change, Dirty, ObjectStatus
from portico.errors import PorticoError
from portico.model.l3 import FLOATING_OWNER
from portico.model.snapshot import DHCP_OWNER, ROUTER_OWNERS, Port, Snapshot

# No workload has them, and no host.
_OF_NETWORKS = ROUTER_OWNERS | {DHCP_OWNER, FLOATING_OWNER}

_MISSING = {
    "conntrack-helpers",
    "interface-floating-ips",
    "logging",
    "metering",
    "ndp-proxies",
    "qos-minimum-bandwidth",
    "qos-minimum-packet-rate",
    "qos-floating-ips",
    "qos-gateways",
    "trunks",
}
CAPABILITIES = Capabilities(name="memory", network_types=("local",), features=FEATURES - _MISSING)


class MemoryBackend:
    """Writes what is wanted into a `Fabric` and reads it back.

    It takes no hints: every sync compares the whole. That is what a backend has to be equal to, written as plainly as
    can be.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric

    def describe(self) -> Capabilities:
        """Return everything: it is the reference."""
        return CAPABILITIES

    def admit(self, want: Snapshot, change: Change) -> None:
        """Refuse what no backend has heard of."""
        refuse_undeclared(CAPABILITIES, change)

    def bind(self, port: Port, host: str) -> Binding:
        """Return a VIF of the kind that the port asks for."""
        return Binding(vif_type=port.plug, vif_details={"port_filter": True, "connectivity": "l2"})

    def sync(self, want: Snapshot, dirty: Dirty) -> Iterable[ObjectStatus]:
        """Put what differs, remove what is ours and not wanted, and tell what the fabric has."""
        wanted = plan.pieces(want, CAPABILITIES.name)
        there = self._fabric.pieces
        ours = [key for key, piece in there.items() if piece.owner == CAPABILITIES.name]
        troubles: dict[str, str] = {}
        for key in sorted(ours):  # endpoints before segments, which they need
            if key not in wanted:
                self._write(key, wanted, troubles)
        for key, piece in wanted.items():
            if there.get(key) != piece:
                self._write(key, wanted, troubles)
        return list(self._statuses(want, wanted, troubles))

    def _write(self, key: str, wanted: dict[str, Piece], troubles: dict[str, str]) -> None:
        try:
            if key in wanted:
                self._fabric.put(key, wanted[key])
            else:
                self._fabric.remove(key)
        except PorticoError as error:
            troubles[key] = error.message

    def _statuses(self, want: Snapshot, wanted: dict[str, Piece], troubles: dict[str, str]) -> Iterator[ObjectStatus]:
        for port in want.ports.values():
            key = f"endpoint/{port.id}"
            if port.device_owner in _OF_NETWORKS:
                continue
            if key not in wanted:
                yield ObjectStatus("port", port.id, "DOWN", "bound to no host")
            elif key in troubles:
                yield ObjectStatus("port", port.id, "ERROR", troubles[key])
            elif self._fabric.pieces.get(key) != wanted[key]:
                yield ObjectStatus("port", port.id, "ERROR", f"{key} is not what was put there")
            else:
                yield ObjectStatus("port", port.id, "ACTIVE")
