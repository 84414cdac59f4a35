# SPDX-License-Identifier: Apache-2.0
"""Sysctls of one network namespace, below /proc/sys/net, as far as routing needs them. Source: ip-sysctl.rst."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from portico.agent import kernel

_ROOT = Path("/proc/sys/net")


class Switches:
    """Those of the namespace that `netns` describes; of the calling thread's if there is none."""

    def __init__(self, netns: int | None = None) -> None:
        self._netns = netns

    def read(self, paths: Collection[str]) -> dict[str, str]:
        """Return the values of those that the kernel has."""

        def look() -> dict[str, str]:
            files = {path: _ROOT / path for path in paths}
            return {path: file.read_text().strip() for path, file in files.items() if file.exists()}

        return look() if self._netns is None else kernel.within(self._netns, look)

    def write(self, values: Mapping[str, str]) -> None:
        """Set values.

        Raises:
            OSError: the kernel lacks one, or it is not to be set from here.
        """

        def change() -> None:
            for path, value in values.items():
                _write(path, value)

        change() if self._netns is None else kernel.within(self._netns, change)

    def accept_advertisements(self) -> None:
        """Have links that listen to router advertisements go on when the namespace forwards IPv6 (`accept_ra` 2)."""

        def change() -> None:
            for file in (_ROOT / "ipv6/conf").glob("*/accept_ra"):
                if file.read_text().strip() == "1":
                    file.write_text("2")

        change() if self._netns is None else kernel.within(self._netns, change)


def _write(path: str, value: str) -> None:
    """Set a sysctl. Each link has some, and pathlib takes as long as the kernel does."""
    descriptor = os.open(f"{_ROOT}/{path}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
