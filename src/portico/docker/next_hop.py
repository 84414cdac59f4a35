# SPDX-License-Identifier: Apache-2.0
"""Which of its host's two next hops each routed link of a container has.

The engine adds routes without naming a link (moby, libnetwork/osl/route_linux.go), so that in one container a next hop
is behind one link alone.
"""

from __future__ import annotations

import threading
from pathlib import Path

from portico.docker import wire
from portico.errors import Conflict


class NextHops:
    """Remembers where endpoints on routed networks are. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Of each endpoint its sandbox, and whether it has the second one there.
        self._taken: dict[str, tuple[str, bool]] = {}

    def takes_second(self, call: wire.Endpoint) -> bool:
        """Return whether an endpoint that joins a sandbox has the second next hop there; the same when asked again.

        What a container that runs already has from before this process, is not known: most likely the first one.

        Raises:
            Conflict: others have both.
        """
        place = call.sandbox_key
        with self._lock:
            before, second = self._taken.get(call.endpoint_id, ("", False))
            if place and before == place:
                return second
            there = {key: second for key, (at, second) in self._taken.items() if place and at == place}
            if len(there) == 2:
                raise Conflict(
                    f"Docker network {call.network_id}: the container is on two routed networks already (endpoints "
                    f"{', '.join(sorted(there))}): its host answers for two next hops, and each is behind one link."
                )
            runs = bool(place) and Path(place).exists()
            second = False in there.values() or (runs and not there)
            self._taken[call.endpoint_id] = place, second
            return second

    def drop(self, endpoint_id: str) -> None:
        """Forget an endpoint."""
        with self._lock:
            self._taken.pop(endpoint_id, None)
