# SPDX-License-Identifier: Apache-2.0
"""What a `FakeKernel` lacks of the host's namespace: our nft table there, Docker's chain, programs that listen."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from portico.agent.docker_user import DockerUser
from portico.agent.drivers.libnftables import Nft, NftError
from portico.agent.drivers.link import LinkTable
from portico.agent.drivers.publish import HostRulesDriver
from portico.agent.drivers.uplink import UplinkDriver
from portico.agent.host_ports import HostPorts
from portico.testing.fakekernel import DESCRIPTOR, HOST, OURS, FakeConntrack, FakeKernel, FakeNetfilter
from portico.testing.fakeroutes import side
from portico.testing.faults import Outcome
from portico.testing.nft_state import NftState, listing


class FakeHost:
    """The state: `chain` is Docker's by network (None: there is none), `listeners` are (protocol, port)."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.nft = NftState()
        self.chain: dict[str, list[str]] | None = {}
        self.listeners: set[tuple[str, int]] = set()

    def drivers(self, table: LinkTable) -> tuple[UplinkDriver, HostRulesDriver]:
        """Return new drivers without memory."""
        rules = HostRulesDriver(
            OURS,
            FakeHostNft(self),
            FakeDockerUser(self),
            FakeHostPorts(self),
            FakeConntrack(),
            FakeNetfilter(self.kernel),
        )
        return UplinkDriver(table, side(self.kernel, HOST), DESCRIPTOR, OURS), rules


class FakeHostNft(Nft):
    """Commands to the table in the host's namespace."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    def run(self, commands: str) -> str:
        """See Nft."""
        outcome = self._host.kernel.faults.write("nft of the host")
        if outcome is Outcome.REFUSED:
            raise NftError("Error: Could not process rule: refused")
        if outcome is Outcome.DONE:
            self._host.nft.run(commands)
        return ""

    def check(self, commands: str) -> None:
        """See Nft."""
        self._host.nft.outcome(commands)

    def tables(self, names: Iterable[tuple[str, str]]) -> dict[str, str]:
        """See Nft."""
        found = ((name, self._host.nft.tables.get(name)) for name in names)
        return {name[0]: listing(name[1], table) for name, table in found if table is not None}


class FakeDockerUser(DockerUser):
    """Docker's chain."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    def read(self, networks: Collection[str]) -> dict[str, bool]:
        """See DockerUser."""
        chain = self._host.chain
        if chain is None:
            return dict.fromkeys(networks, True)
        return {name: chain.get(name) == ["-i", "-o"] for name in {*networks, *chain}}

    def put(self, network_id: str) -> None:
        """See DockerUser."""
        self.remove(network_id)
        chain = self._host.chain
        for way in ("-i", "-o") if chain is not None else ():
            if self._host.kernel.write("iptables -A", network_id) and chain is not None:
                chain.setdefault(network_id, []).append(way)

    def remove(self, network_id: str) -> None:
        """See DockerUser."""
        chain = self._host.chain
        while chain and network_id in chain:
            if not self._host.kernel.write("iptables -D", network_id):
                return
            chain[network_id].pop()
            if not chain[network_id]:
                del chain[network_id]


class FakeHostPorts(HostPorts):
    """Programs that listen on all addresses."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    def obstacle(self, protocol: str, addresses: tuple[str, ...], ports: tuple[int, int]) -> str:
        """See HostPorts."""
        taken = [port for port in range(ports[0], ports[1] + 1) if (protocol, port) in self._host.listeners]
        return f"a program has {protocol} port {taken[0]} of {addresses[0]}" if taken else ""
