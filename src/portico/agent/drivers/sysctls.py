# SPDX-License-Identifier: Apache-2.0
"""What our namespace has to be before anything is made in it: modules of the kernel, and sysctls."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from portico.agent import kernel
from portico.agent.delta import Delta, Trouble, Wanted
from portico.hoststate import Bridge, Vif

ROOT = Path("/proc/sys/net")

SPARSE = {
    "netfilter/nf_conntrack_tcp_timeout_unacknowledged": "432000",
    "netfilter/nf_conntrack_tcp_timeout_max_retrans": "432000",
}
"""Connection tracking sees one packet in many (see `fast_path`): what seems unanswered is not. As long as others."""

VALUES = {
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    "bridge/bridge-nf-call-arptables": "0",
    # each bridge says for itself whether it passes packets on to be tracked
    "bridge/bridge-nf-call-iptables": "0",
    "bridge/bridge-nf-call-ip6tables": "0",
    # a connection that was cut must not come back by its next packet
    "netfilter/nf_conntrack_tcp_loose": "0",
    # the ends judge their windows and checksums themselves; a bridge only has to know who began
    "netfilter/nf_conntrack_tcp_be_liberal": "1",
    "netfilter/nf_conntrack_checksum": "0",
    **SPARSE,
}
MODULES: Mapping[str, str] = {"bridge": "br_netfilter", "netfilter": "nf_conntrack"}
"""The modules without which nothing is let through as it must be, by the folder of sysctls that each brings."""


ABILITIES: Mapping[str, tuple[str, ...]] = dict.fromkeys(("bridge", "routed"), ("bridge", "netfilter"))
"""What a host may be able to do, with the sysctls that it takes; backends name what they need."""


def abilities(root: Path = ROOT, load: Callable[[str], None] = kernel.load_module) -> dict[str, str]:
    """Return for each of ABILITIES why this host lacks it; empty if it does not."""
    missing = {folder: module for folder, module in MODULES.items() if not (root / folder).is_dir()}
    for module in missing.values():
        load(module)
    lacks = {folder: _not_loaded(module) for folder, module in missing.items() if not (root / folder).is_dir()}
    return {name: next((lacks[one] for one in needs if one in lacks), "") for name, needs in ABILITIES.items()}


def _not_loaded(module: str) -> str:
    return f"the kernel module {module} is not loaded (modprobe {module})"


class SysctlDriver:
    """Has no keys of its own: it comes first, and while a module is missing no bridge and no port is active.

    Without br_netfilter the kernel tracks no connection on a bridge, so that every answer is dropped.

    Args:
        root: where the sysctls of the namespace of the calling thread are.
        load: loads a module, or does nothing; a service may lack the right to.
    """

    def __init__(self, root: Path = ROOT, load: Callable[[str], None] = kernel.load_module) -> None:
        self._root = root
        self._load = load
        self._reason = ""
        self._modules = [(str(root / folder), module) for folder, module in MODULES.items()]

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        if not self._reason:
            return {}, {}
        stopped = [key for key in keys if isinstance(wanted.objects.get(key), Bridge | Vif)]
        return {}, dict.fromkeys(stopped, Trouble(self._reason))

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver. When everything is read, or a module was missing, what is not as it must be is set again."""
        missing = [module for folder, module in self._modules if not os.path.isdir(folder)]  # noqa: PTH112 (each pass)
        for module in missing:
            self._load(module)
        if keys is None or missing or self._reason:
            missing = [module for folder, module in MODULES.items() if not (self._root / folder).is_dir()]
            self._reason = _not_loaded(missing[0]) if missing else ""
            self._set()
        return {}

    def apply(self, _delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        return {}

    def _set(self) -> None:
        for name, value in VALUES.items():
            path = self._root / name
            if path.exists() and path.read_text().strip() != value:  # a kernel without IPv6 lacks some
                path.write_text(value)
