# SPDX-License-Identifier: Apache-2.0
"""The ports that this process itself reserved or plugged, and whose end the engine has not asked for yet."""

from __future__ import annotations

import threading


class Held:
    """Port ids, each with its EndpointID, which is empty before CreateEndpoint. Thread-safe.

    What is not here was left by a process before this one, or by a call of the engine's that failed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._endpoints: dict[str, str] = {}

    def hold(self, port_id: str, endpoint_id: str = "") -> None:
        """Take in a port, or say whose it is now."""
        with self._lock:
            self._endpoints[port_id] = endpoint_id

    def drop(self, port_id: str) -> None:
        """Let go of a port; not held is fine."""
        with self._lock:
            self._endpoints.pop(port_id, None)

    def drop_endpoint(self, endpoint_id: str) -> None:
        """Let go of an endpoint's port."""
        with self._lock:
            self._endpoints = {port: endpoint for port, endpoint in self._endpoints.items() if endpoint != endpoint_id}

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._endpoints.clear()

    def has_endpoint(self, endpoint_id: str) -> bool:
        """Tell whether a port of an endpoint is held."""
        with self._lock:
            return endpoint_id in self._endpoints.values()

    def endpoint(self, port_id: str) -> str | None:
        """Return the EndpointID of a port that is held; None if it is not held."""
        with self._lock:
            return self._endpoints.get(port_id)
