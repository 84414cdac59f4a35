# SPDX-License-Identifier: Apache-2.0
"""A lab: hosts that this process makes, and that are gone when it is."""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Sequence
from types import TracebackType

from portico.testing.lab import cgroups, running
from portico.testing.lab.host import LabHost

UNDERLAY_V4 = ipaddress.IPv4Network("198.51.100.0/24")
UNDERLAY_V6 = ipaddress.IPv6Network("2001:db8:1ab::/64")
UNDERLAY_MTU = 9000


class Lab:
    """Makes hosts, and ends them all when closed or when this process ends, however it ends.

    Hosts that ask for an underlay are joined by a bridge in a host of its own, "underlay"; the first gets 198.51.100.1
    and 2001:db8:1ab::1 on its link `eth0`, the next 2, and so on. Use it as a context manager. Needs root.
    """

    def __init__(self) -> None:
        cgroups.sweep(running.labs())
        self.name = f"{cgroups.PREFIX}{secrets.token_hex(4)}"
        self.hosts: dict[str, LabHost] = {}
        self._underlay: LabHost | None = None
        self._kept = False

    def host(self, name: str, *, underlay: bool = False) -> LabHost:
        """Make the host `name`, with a link to the other hosts if `underlay` is set."""
        host = LabHost(self.name, name)
        self.hosts[name] = host
        if underlay:
            self._attach(host)
        return host

    def keep(self) -> None:
        """Let the lab outlive this process; `python -m portico.testing.lab end NAME` ends it."""
        for host in self._all():
            host.keep()
        self._kept = True

    def close(self) -> None:
        """End all hosts and remove what they left in the control group file system. A lab that is kept stays."""
        if self._kept:
            return
        for host in self._all():
            host.close()
        self.hosts.clear()
        self._underlay = None
        cgroups.remove(self.name)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _all(self) -> Sequence[LabHost]:
        return [*self.hosts.values(), *([self._underlay] if self._underlay else [])]

    def _attach(self, host: LabHost) -> None:
        if self._underlay is None:
            self._underlay = LabHost(self.name, "underlay")
            self._underlay.run(["ip", "link", "add", "br0", "mtu", str(UNDERLAY_MTU), "type", "bridge"])
            self._underlay.run(["ip", "link", "set", "br0", "up"])
        links = self._underlay.run(["ip", "-o", "link", "show", "master", "br0"]).out
        number = len(links.splitlines()) + 1
        self._join(self._underlay, f"h{number}", host)
        host.run(["ip", "address", "add", f"{UNDERLAY_V4[number]}/{UNDERLAY_V4.prefixlen}", "dev", "eth0"])
        host.run(["ip", "address", "add", f"{UNDERLAY_V6[number]}/{UNDERLAY_V6.prefixlen}", "dev", "eth0", "nodad"])
        host.run(["ip", "link", "set", "eth0", "up"])

    @staticmethod
    def _join(underlay: LabHost, port: str, host: LabHost) -> None:
        link = ["ip", "link", "add", port, "mtu", str(UNDERLAY_MTU), "master", "br0", "type", "veth"]
        namespace = os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY)
        try:
            peer = ["peer", "name", "eth0", "mtu", str(UNDERLAY_MTU), "netns", f"/proc/self/fd/{namespace}"]
            underlay.run([*link, *peer], pass_fds=[namespace])
        finally:
            os.close(namespace)
        underlay.run(["ip", "link", "set", port, "up"])
