# SPDX-License-Identifier: Apache-2.0
"""Router advertisements: a dnsmasq in the namespace of each router that announces prefixes. It outlives the agent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from portico.agent import dnsmasq, owner
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.servers import RouterServers
from portico.hoststate import Router


@dataclass(frozen=True, slots=True)
class AdvertItem:
    """What announces a router's prefixes, as wanted or found: its configuration, and that it runs."""

    router_id: str
    config: str
    running: bool = True


class AdvertDriver:
    """Keys `router/...` of routers that announce something."""

    def __init__(self, servers: RouterServers) -> None:
        self._servers = servers
        self._keys: dict[str, str] = {}

    def fileno(self) -> int:
        """Return a descriptor that is readable when a server has ended."""
        return self._servers.fileno()

    def ended(self) -> list[str]:
        """Return the keys of servers that have ended since the last call."""
        return [self._keys[short] for short in self._servers.ended()]

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        items: dict[str, Any] = {}
        troubles = {}
        for key in keys:
            router = wanted.objects.get(key)
            if not isinstance(router, Router) or not any(leg.prefixes for leg in router.legs):
                continue
            try:
                folder, _ = self._servers.folders(owner.short(router.router_id))
                items[key] = AdvertItem(
                    router.router_id, dnsmasq.announcement(router, run_dir=str(folder), user=self._servers.user)
                )
            except ValueError as error:
                troubles[key] = Trouble(f"router advertisements: {error}")
        return items, troubles

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        if keys is not None and not any(map(_is_router, keys)):
            return {}
        wanted = None if keys is None else {owner.short(key.partition("/")[2]) for key in keys if _is_router(key)}
        found = {}
        for short in sorted(self._servers.known() if wanted is None else self._servers.known() & wanted):
            running = self._servers.find(short)
            config = running.config if running else ""
            router_id = dnsmasq.router_of(config) or self._keys.get(short, "").partition("/")[2] or short
            key = self._keys[short] = f"router/{router_id}"
            found[key] = AdvertItem(router_id, config, running=running is not None)
        return {key: item for key, item in found.items() if keys is None or key in keys}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key in delta.gone:
            short = owner.short(delta.before[key].router_id)
            self._servers.end(short)
            self._servers.remove_files(short)
        for key, item in delta.put.items():
            short = owner.short(item.router_id)
            self._keys[short] = key
            try:
                self._servers.end(short)
                self._servers.start(short, item.config)
                self._servers.find(short)
            except OSError as error:
                troubles[key] = Trouble(f"router advertisements: {error.strerror}")
        return troubles


def _is_router(key: str) -> bool:
    return key.startswith("router/")
