# SPDX-License-Identifier: Apache-2.0
"""BGP speakers that are not BIRD, on hosts of a lab: FRR, which also routes, and GoBGP, which only listens."""

from __future__ import annotations

import json
from typing import Any

from portico.testing.lab import LabHost, wait_until

_FRR = "/usr/lib/frr"
_FOLDER = "/run/peer"


class Frr:
    """FRR's zebra, bfdd and bgpd on `host`, with `config` in the words of vtysh; what it learns is in the kernel."""

    def __init__(self, host: LabHost, config: str) -> None:
        self._host = host
        folder = host.path(_FOLDER)
        folder.mkdir()
        (folder / "frr.conf").write_text(config)
        (folder / "empty.conf").touch()
        host.run(["chown", "-R", "frr:frr", _FOLDER])
        common = ["-u", "frr", "-g", "frr", "-z", f"{_FOLDER}/zserv.api", "--vty_socket", _FOLDER]
        for name, *more in (("zebra",), ("bfdd", "--bfdctl", f"{_FOLDER}/bfdd.sock"), ("bgpd",)):
            files = ["-i", f"{_FOLDER}/{name}.pid", "-f", f"{_FOLDER}/empty.conf"]
            host.spawn([f"{_FRR}/{name}", *common, *files, "-P", "0", *more])
            wait_until(f"{name}'s socket", (folder / f"{name}.vty").exists, 10)
        host.run(["vtysh", "--vty_socket", _FOLDER, "--config_dir", _FOLDER, "-f", f"{_FOLDER}/frr.conf"])

    def show(self, command: str) -> Any:
        """Return what `show COMMAND json` tells."""
        answer = self._host.run(
            ["vtysh", "--vty_socket", _FOLDER, "--config_dir", _FOLDER, "-c", f"show {command} json"]
        )
        return json.loads(answer.out)


class GoBgp:
    """GoBGP on `host`, with `config` as its file has it (TOML)."""

    def __init__(self, host: LabHost, config: str) -> None:
        self._host = host
        folder = host.path(_FOLDER)
        folder.mkdir()
        (folder / "gobgp.toml").write_text(config)
        host.spawn(["gobgpd", "-f", f"{_FOLDER}/gobgp.toml"])

    def routes(self, family: str = "ipv4") -> dict[str, Any]:
        """Return its paths by prefix; empty until it answers."""
        answer = self._host.run(["gobgp", "-j", "global", "rib", "-a", family], check=False)
        return json.loads(answer.out or "{}") if answer.ok else {}
