# SPDX-License-Identifier: Apache-2.0
"""Who takes part in the demo, and who is to reach whom: pure data, from which the table of expectations comes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Literal

# One subnet for both networks: what keeps them apart is Portico, not a missing route. Their containers have addresses
# from different halves of it, so that an address stands for one workload.
SUBNET = "10.1.0.0/24"
RANGES = {"blue": "10.1.0.0/25", "red": "10.1.0.128/25"}
# The routed network, on which ann and vm have a second port each.
ROUTED_SUBNET = "10.9.0.0/24"
# A network with a way out; its router has an interface on blue, too.
GREEN, GREEN_SUBNET = "green", "10.3.0.0/24"
OPEN_PORT = 80
CLOSED_PORT = 8080

Probe = Literal["ping", "tcp 80", "tcp 8080"]
PROBES: tuple[Probe, ...] = ("ping", "tcp 80", "tcp 8080")


@dataclass(frozen=True, slots=True)
class Workload:
    """A container or virtual machine on one of its networks, with its security group there.

    Or a host beyond the network, which Portico has no part in.
    """

    name: str
    kind: Literal["container", "vm", "host"]
    network: str
    group: Literal["default", "web", "none"]


ANN = Workload("ann", "container", "blue", "default")
BOB = Workload("bob", "container", "blue", "default")
VM = Workload("vm", "vm", "blue", "default")
SHOP = Workload("shop", "container", "blue", "web")
REX = Workload("rex", "container", "red", "default")
ROY = Workload("roy", "container", "red", "default")
CAST = (ANN, BOB, VM, SHOP, REX, ROY)
GUS = Workload("gus", "container", GREEN, "web")
GIL = Workload("gil", "container", GREEN, "default")
GREEN_CAST = (GUS, GIL)
ANN_ROUTED = Workload("ann", "container", "routed", "web")
VM_ROUTED = Workload("vm", "vm", "routed", "web")
PEER = Workload("peer", "host", "routed", "none")
ROUTED_CAST = (ANN_ROUTED, VM_ROUTED, PEER)


@dataclass(frozen=True, slots=True)
class Trial:
    """One question: does `source` reach `target` by `probe`?"""

    source: Workload
    target: Workload
    probe: Probe

    @property
    def expected(self) -> bool:
        """Whether it should: never across networks; default group members each other; all the web group's port.

        What is beyond is everybody's, as far as there are routes.
        """
        if self.source.network != self.target.network:
            return False
        if self.target.kind == "host":
            return True
        if self.target.group == "web":
            return self.probe == f"tcp {OPEN_PORT}"
        return self.source.group == self.target.group


def trials() -> list[Trial]:
    """Return every question there is between two different workloads."""
    pairs = [*permutations(CAST, 2), *permutations(ROUTED_CAST, 2)]
    return [Trial(source, target, probe) for source, target in pairs for probe in PROBES]
