# SPDX-License-Identifier: Apache-2.0
"""Ports of Open vSwitch bridges, by ovs-vsctl(8), with the external_ids that network agents know them by.

Sources: ovs-vsctl(8); "Integration Guide for Centralized Control" of Open vSwitch's documentation (iface-id,
attached-mac, iface-status).
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

OURS = "portico-netns"
"""The external_id that marks an interface as ours; its value is the agent's namespace."""
TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class SwitchPort:
    """A port of a bridge: what stands at it, and the MAC address."""

    bridge: str
    interface_id: str
    mac: str


class OpenVswitch:
    """The Open vSwitch of this host, if there is one.

    Args:
        netns: the agent's namespace, by which two agents tell their ports apart.
        program: ovs-vsctl, with the options that it is to have.
    """

    def __init__(self, netns: str, program: tuple[str, ...] = ("ovs-vsctl",)) -> None:
        self._netns = netns
        self._program = program

    def is_here(self) -> bool:
        """Tell whether the host has ovs-vsctl."""
        return shutil.which(self._program[0]) is not None

    def ports(self) -> dict[str, SwitchPort]:
        """Return our ports by the names of their links; none without Open vSwitch.

        Raises:
            OSError: it does not answer.
        """
        if not self.is_here():
            return {}
        shown = self._run("--format=json", "--columns=name,external_ids", "find", "Interface",
                          f'external_ids:{OURS}="{self._netns}"')  # fmt: skip
        found = {}
        for name, (_, pairs) in json.loads(shown)["data"]:
            ids: Mapping[str, str] = dict(pairs)
            bridge = self._run("iface-to-br", name).strip()
            found[name] = SwitchPort(bridge, ids.get("iface-id", ""), ids.get("attached-mac", ""))
        return found

    def add(self, name: str, port: SwitchPort) -> None:
        """Put the link `name` into a bridge, out of any other.

        Raises:
            OSError: there is no such bridge, or Open vSwitch does not answer.
        """
        ids = {"iface-id": port.interface_id, "attached-mac": port.mac, "iface-status": "active", OURS: self._netns}
        self._run(
            "--if-exists", "del-port", name, "--", "add-port", port.bridge, name, "--", "set", "Interface", name,
            *(f'external_ids:{key}="{value}"' for key, value in ids.items()),
        )  # fmt: skip

    def remove(self, name: str) -> None:
        """Take the link `name` out of its bridge; none is no error.

        Raises:
            OSError: Open vSwitch does not answer.
        """
        self._run("--if-exists", "del-port", name)

    def _run(self, *words: str) -> str:
        argv = [*self._program, f"--timeout={TIMEOUT_S}", *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(errno.EIO, " ".join(done.stderr.split())[:200] or f"ovs-vsctl: code {done.returncode}")
        return done.stdout
