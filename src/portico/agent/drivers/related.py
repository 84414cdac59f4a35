# SPDX-License-Identifier: Apache-2.0
"""Helpers of connection tracking: whether the kernel has those that routers are to use."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from portico.agent import kernel, related
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.libnftables import Nft, NftError
from portico.hoststate import Router


def lack(helper: str, protocol: str) -> str:
    """Return why the kernel cannot help connections so, having loaded what it needs; empty if it can.

    nftables loads the module that reads along, and nobody else the one that translates what is said; a service may not.
    """
    kernel.load_module(f"nf_nat_{helper}")
    reason = f"the kernel has no conntrack helper {helper} for {protocol} (modprobe nf_nat_{helper})"

    def make() -> str:
        nft = Nft()
        try:
            nft.run(f"table inet trial {{\n{related.declared(related.name(helper, protocol))}\n}}\n")
        except NftError:
            return reason
        finally:
            nft.close()
        return ""

    return kernel.apart(make) or (reason if only_reads(helper) else "")


def only_reads(helper: str, modules: Path = Path("/proc/modules")) -> bool:
    """Tell whether the module that reads along is loaded, and the one that translates is not; both may be built in."""
    loaded = {line.partition(" ")[0] for line in modules.read_text().splitlines()} if modules.exists() else set()
    return f"nf_conntrack_{helper}" in loaded and f"nf_nat_{helper}" not in loaded


class RelatedDriver:
    """Has no keys of its own: a router whose helpers the kernel lacks stays as it is."""

    def __init__(self, lack: Callable[[str, str], str] = lack) -> None:
        self._lack = lack
        self._known: set[tuple[str, str]] = set()

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        troubles = {}
        for key in keys:
            router = wanted.objects.get(key)
            pairs = {(it.helper, it.protocol) for it in router.helpers} if isinstance(router, Router) else set()
            if why := [reason for pair in sorted(pairs - self._known) if (reason := self._try(pair))]:
                troubles[key] = Trouble("; ".join(why))
        return {}, troubles

    def read(self, _keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        return {}

    def apply(self, _delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        return {}

    def _try(self, pair: tuple[str, str]) -> str:
        why = self._lack(*pair)
        if not why:
            self._known.add(pair)
        return why
