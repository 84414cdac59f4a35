# SPDX-License-Identifier: Apache-2.0
"""DHCP servers on a `FakeKernel`: their namespaces, files and processes, which outlive the agent as real ones do.

Clients are quick here: whoever a server knows asks it as soon as it has read its files, and what it then leases is in
its lease file. An address that somebody else has leased is not given, as by dnsmasq.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portico.agent import dnsmasq, owner
from portico.agent.links import Link, Links
from portico.agent.servers import OwnServers, Running, Servers
from portico.testing.fakekernel import OURS, FakeKernel, FakeLinks, Process

PREFIX = owner.dhcp_netns_prefix(OURS)


class FakeServers(Servers):
    """The DHCP servers on a `FakeKernel`."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._files = kernel.files
        self._processes = kernel.processes
        self.user = "nobody"

    def folders(self, short: str) -> tuple[Path, Path]:
        """See Servers."""
        return Path("/run", short), Path("/var/lib", short)

    def known(self) -> set[str]:
        """See Servers."""
        places = {name.removeprefix(PREFIX) for name in self._kernel.namespaces if name.startswith(PREFIX)}
        return places | {short for short, _ in self._files}

    def place(self, short: str) -> str:
        """Return the name of a server's namespace."""
        return PREFIX + short

    def find(self, short: str) -> Running | None:
        """See Servers."""
        process = self._processes.get(short)
        if process is None or process.home is not self._kernel.namespaces.get(self.place(short)):
            return None
        return Running(process.pid, process.config)

    def ended(self) -> list[str]:
        """See Servers; who ends one here tells the loop itself."""
        return []

    def read(self, short: str, name: str) -> str:
        """See Servers."""
        return self._files.get((short, name), "")

    def write(self, short: str, name: str, text: str) -> None:
        """See Servers."""
        if self._kernel.write("write", short, name):
            self._files[short, name] = text

    def check(self, options: str) -> None:
        """See Servers; nothing is wrong with any options."""

    @contextmanager
    def inside(self, short: str) -> Iterator[tuple[int, Links]]:
        """See Servers."""
        place = self.place(short)
        if place not in self._kernel.namespaces and self._kernel.write("add namespace", place):
            loopback = Link(next(self._kernel.indexes), "lo", "", "", "", 65536, 0, up=False)
            self._kernel.namespaces[place] = {"lo": loopback}
        if place not in self._kernel.namespaces:
            raise FileNotFoundError(errno.ENOENT, "no such namespace", place)
        descriptor = next(self._kernel.numbers)
        self._kernel.descriptors[descriptor] = place
        try:
            yield descriptor, FakeLinks(self._kernel, place)
        finally:
            del self._kernel.descriptors[descriptor]

    def start(self, short: str, config: str) -> None:
        """See Servers."""
        home = self._kernel.namespaces.get(self.place(short))
        absent = [name for name in dnsmasq.RELOADED if (short, name) not in self._files]
        if home is None or absent:
            raise FileNotFoundError(errno.ENOENT, f"no namespace, or no file, for {short}")
        if self._processes.get(short):
            raise OSError(errno.EADDRINUSE, "a server runs there already")
        if self._kernel.write("start", short):
            process = Process(next(self._kernel.numbers), home, config, leased=leases(self.read(short, dnsmasq.LEASES)))
            self._processes[short] = process
            self._reload(short, process)

    def reload(self, short: str) -> None:
        """See Servers."""
        process = self._processes.get(short)
        if process is not None and self._kernel.write("reload", short):
            self._reload(short, process)

    def end(self, short: str) -> None:
        """See Servers."""
        if short in self._processes and self._kernel.write("end", short):
            del self._processes[short]

    def remove(self, short: str) -> None:
        """See Servers."""
        place = PREFIX + short
        if place in self._kernel.namespaces and self._kernel.write("remove namespace", place):
            for name in [*self._kernel.namespaces[place]]:
                FakeLinks(self._kernel, place).lose(name)
            del self._kernel.namespaces[place]
        self.remove_files(short)

    def remove_files(self, short: str) -> None:
        """See Servers."""
        files = [key for key in self._files if key[0] == short]
        if files and self._kernel.write("remove files", short):
            for key in files:
                del self._files[key]

    def _reload(self, short: str, process: Process) -> None:
        process.texts = {name: self.read(short, name) for name in dnsmasq.RELOADED}
        for address, mac in clients(process.texts[dnsmasq.HOSTS]).items():
            process.leased.setdefault(address, mac)
        self._files[short, dnsmasq.LEASES] = "".join(
            f"{dnsmasq.LEASE_S} {mac} {address} name *\n" for address, mac in process.leased.items()
        )


class FakeOwnServers(FakeServers, OwnServers):
    """The DHCP server in the agent's namespace on a `FakeKernel`."""

    def __init__(self, kernel: FakeKernel) -> None:
        super().__init__(kernel)
        self._files = kernel.own_files
        self._processes = kernel.own_processes

    def place(self, short: str) -> str:  # noqa: ARG002
        """See FakeServers."""
        return OURS

    def remove(self, short: str) -> None:
        """See Servers."""
        self.remove_files(short)


def given(process: Process) -> dict[str, str]:
    """Return who gets which address from a server; nobody gets one that somebody else has leased."""
    known = clients(process.texts[dnsmasq.HOSTS])
    return {address: mac for address, mac in known.items() if process.leased[address] == mac}


def clients(hosts: str) -> dict[str, str]:
    """Return the MAC address of each address in a hosts file."""
    words = [line.split(",") for line in hosts.splitlines()]
    return {address.strip("[]"): mac for mac, address, *_ in words}


def leases(text: str) -> dict[str, str]:
    """Return the MAC address of each address in a lease file."""
    words = [line.split() for line in text.splitlines()]
    return {address: mac for _, mac, address, *_ in words}
