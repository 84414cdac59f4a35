# SPDX-License-Identifier: Apache-2.0
"""What the DHCP servers of this agent have of the machine: for each a network namespace, files, and a dnsmasq.

A server goes by as much of its network's id as a link's name has (`owner.short`). Its process outlives the agent, what
is in the state folder also a restart of the machine.
"""

from __future__ import annotations

import os
import select
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portico.agent import dnsmasq, kernel, netlink, owner
from portico.agent.daemon import is_open_to_all
from portico.agent.links import Links
from portico.agent.server import Server, check_options

FOLDER = "dhcp"
ROUTED_FOLDER = "routed-dhcp"
ROUTER_FOLDER = "router"
_KEPT = (dnsmasq.LEASES, dnsmasq.NETWORK)
_SYSCTLS = {
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/conf/default/accept_ra": "0",
    # the addresses are ours by the store's word; waiting for a proof would delay the first advertisement by a second
    "ipv6/conf/default/accept_dad": "0",
}


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs in the namespace that has its name: its process, and the configuration that this has."""

    pid: int
    config: str


class Servers:
    """The servers of the agent whose namespace is called `netns`."""

    def __init__(self, netns: str, *, run_dir: Path, state_dir: Path) -> None:
        self._prefix = owner.dhcp_netns_prefix(netns)
        self._run_dir = run_dir / FOLDER / netns
        self._state_dir = state_dir / FOLDER / netns
        # It reads its files again after it gave up being root.
        self.user = "nobody" if is_open_to_all(run_dir) else "root"
        self._ends = select.epoll()
        self._watched: dict[int, tuple[str, Server]] = {}

    def folders(self, short: str) -> tuple[Path, Path]:
        """Return where a server's files are: those of its process, and those that are kept."""
        return self._run_dir / short, self._state_dir / short

    def known(self) -> set[str]:
        """Return the servers of which there is anything; what was kept may be of a network that is gone since."""
        found = {name.removeprefix(self._prefix) for name in kernel.names(self._prefix)}
        for folder in (self._run_dir, self._state_dir):
            found |= {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        return found

    def find(self, short: str) -> Running | None:
        """Return a server that runs; from then on `ended` tells of its end."""
        server = self._server(short)
        if server is None:
            return None
        running = Running(server.pid, server.config())
        if any(known.pid == server.pid for _, known in self._watched.values()):
            server.close()
        else:
            self._watched[server.fileno()] = (short, server)
            self._ends.register(server.fileno(), select.EPOLLIN)
        return running

    def fileno(self) -> int:
        """Return a descriptor that is readable when a server has ended."""
        return self._ends.fileno()

    def ended(self) -> list[str]:
        """Return the servers that have ended since the last call."""
        found = []
        for descriptor, _ in self._ends.poll(0):
            short, server = self._watched.pop(descriptor)
            self._ends.unregister(descriptor)
            server.close()
            found.append(short)
        return found

    def read(self, short: str, name: str) -> str:
        """Return the text of a server's file, by its name in `dnsmasq`; empty if there is none."""
        try:
            return self._path(short, name).read_text(errors="surrogateescape")
        except FileNotFoundError:
            return ""

    def write(self, short: str, name: str, text: str) -> None:
        """Write a server's file at once or not at all."""
        path = self._path(short, name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        new = path.with_name(f"{path.name}.new")
        new.write_text(text, errors="surrogateescape")
        new.chmod(0o644)
        new.replace(path)

    def check(self, options: str) -> None:
        """Have dnsmasq judge the text of an options file.

        Raises:
            OSError: it would not take it.
        """
        check_options(options)

    @contextmanager
    def inside(self, short: str) -> Iterator[tuple[int, Links]]:
        """Make a server's namespace unless it is there; give a descriptor of it, and its links."""
        netns = kernel.ensure_named(self._name(short))
        try:
            with kernel.within(netns, _prepare) as route:
                yield netns, Links(route)
        finally:
            os.close(netns)

    def start(self, short: str, config: str) -> None:
        """Start a server in its namespace; it is ready when this returns.

        Raises:
            OSError: dnsmasq is not there, or refused; with its own words.
        """
        netns = kernel.open_named(self._name(short))
        try:
            Server.start(netns, self._run_dir / short, config)
        finally:
            os.close(netns)

    def reload(self, short: str) -> None:
        """Have a server, if it runs, read its hosts, names and options again."""
        server = self._server(short)
        if server is not None:
            server.reload()
            server.close()

    def end(self, short: str) -> None:
        """End every process of a server, also one in a namespace that lost its name."""
        for server in Server.all_of(self._run_dir / short):
            server.end()

    def remove(self, short: str) -> None:
        """Remove a server's namespace and files, as far as they are there; the file that tells its network last."""
        kernel.remove_named(self._name(short))
        self.remove_files(short)

    def remove_files(self, short: str) -> None:
        """Remove a server's files."""
        for folder in self.folders(short):
            if folder.is_dir():
                shutil.rmtree(folder)

    def _name(self, short: str) -> str:
        return f"{self._prefix}{short}"

    def _path(self, short: str, name: str) -> Path:
        return (self._state_dir if name in _KEPT else self._run_dir) / short / name

    def _server(self, short: str) -> Server | None:
        return Server.find(self._run_dir / short / dnsmasq.PID, kernel.NETNS_FOLDER / self._name(short))


class OwnServers(Servers):
    """Those in our namespace itself, for routed networks: a namespace of their own could not see who asks."""

    def __init__(self, netns: str, *, run_dir: Path, state_dir: Path) -> None:
        super().__init__(netns, run_dir=run_dir, state_dir=state_dir)
        self._netns = netns
        self._run_dir = run_dir / ROUTED_FOLDER / netns
        self._state_dir = state_dir / ROUTED_FOLDER / netns

    def remove(self, short: str) -> None:
        """Remove a server's files."""
        self.remove_files(short)

    def _name(self, _short: str) -> str:
        return self._netns


class RouterServers(Servers):
    """Those that announce the prefixes of routers, each in its router's namespace. They keep nothing."""

    def __init__(self, netns: str, *, run_dir: Path) -> None:
        super().__init__(netns, run_dir=run_dir, state_dir=run_dir)
        self._prefix = owner.router_netns_prefix(netns)
        self._run_dir = self._state_dir = run_dir / ROUTER_FOLDER / netns

    def known(self) -> set[str]:
        """Return the routers whose server there is anything of."""
        return {path.name for path in self._run_dir.iterdir()} if self._run_dir.is_dir() else set()

    def start(self, short: str, config: str) -> None:
        """Start a server; see `Servers.start`."""
        (self._run_dir / short).mkdir(parents=True, exist_ok=True, mode=0o755)
        super().start(short, config)


def _prepare() -> netlink.Socket:
    """Set the sysctls of the calling thread's namespace and open a socket in it."""
    for path, value in _SYSCTLS.items():
        kernel.sysctl(path, value)
    return netlink.Socket(netlink.ROUTE)
