# SPDX-License-Identifier: Apache-2.0
"""What several backends cost beside one, and what their plans cost on a host that has ports of both.

In processor time; what else the machine does makes that dearer, too, but by less than the time on the wall.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure, median
from bench.load import send
from bench.running import Target, connector
from portico.backends.bridge import BridgeBackend
from portico.backends.routed import RoutedBackend
from portico.broker.hosts import HostStates
from portico.contract import Backend, Dirty
from portico.model.snapshot import Snapshot
from portico.testing.api_process import ApiProcess
from portico.testing.bridge_medium import FakeHost
from portico.testing.fakekernel import OURS
from portico.testing.faults import Faults
from portico.testing.folder import temporary
from portico.testing.world import (
    HOSTS,
    PROJECT,
    PutPort,
    PutRule,
    PutSubnet,
    network_row,
    object_id,
    port_row,
    rule_row,
    subnet_id,
    subnet_row,
)

ROUNDS = 8
# Of two equal ones one may be some percent slower all its life.
PROCESSES = 3
CREATES = 40
SHOWS = 100
LISTS = 2
REQUESTS = ("create port", "show port", "list of 1,000 ports")
PORTS = 1_000
BULK = 50
NETWORKS = 20
GROUPS = 20
PLANS = 7
# CPUCLOCK_SCHED of another process, in the kernel's include/linux/posix-timers.h; clock_getcpuclockid(3).
_OF_PROCESS = 2


def measure() -> list[Figure]:
    """Measure requests to an API with one backend and to one with two, turn and turn about; then plans."""
    shares = [share for _ in range(PROCESSES) for share in _shares()]
    figures = [
        Figure(f"{what}, backends bridge and routed", median(column), "x", at_most=1.05, beside="bridge alone")
        for what, column in zip(REQUESTS, zip(*shares, strict=True), strict=True)
    ]
    backends_s, agent_s = zip(*(_plan() for _ in range(PLANS)), strict=True)
    return [
        *figures,
        Figure(f"{PORTS:,} ports of a host, half of them routed: backends' plans", median(backends_s), "s"),
        Figure("the same host: agent's plan and its comparison", median(agent_s), "s", at_most=0.3),
    ]


class _Api(Target):
    """An API process with a network of 1,000 ports."""

    def __init__(self, process: ApiProcess) -> None:
        super().__init__(connector(Path(process.url.removeprefix("unix:"))))
        self._clock = (~process.pid << 3) | _OF_PROCESS
        self._network = self.network("10.64.0.0/16")
        for _ in range(PORTS // BULK):
            self.call("POST", "/v2.0/ports", {"ports": [{"network_id": self._network}] * BULK})

    def costs(self) -> tuple[float, ...]:
        """Return the processor time of a create, a show, and a list of 1,000 ports."""
        create = self.request("POST", "/v2.0/ports", {"port": {"network_id": self._network}})
        create_s = self._cost_s([create] * CREATES)
        [port] = self.call("GET", "/v2.0/ports?limit=1")["ports"]
        show_s = self._cost_s([self.request("GET", f"/v2.0/ports/{port['id']}")] * SHOWS)
        return create_s, show_s, self._cost_s([self.request("GET", "/v2.0/ports?limit=1000")] * LISTS)

    def _cost_s(self, requests: list[bytes]) -> float:
        began = time.clock_gettime(self._clock)
        run = send(self.connect, requests, 1)
        if run.refused:
            raise RuntimeError(run.refused[0].decode())
        return (time.clock_gettime(self._clock) - began) / len(requests)


def _shares() -> Iterator[list[float]]:
    """Yield what each request costs with several backends, as a share of its cost with one; each time others begin."""
    with _api("bridge") as alone, _api("bridge,routed") as several:
        for _ in range(ROUNDS):
            pairs = [(alone.costs(), several.costs()), (several.costs(), alone.costs())[::-1]]
            yield from ([ours / theirs for theirs, ours in zip(*pair, strict=True)] for pair in pairs)


@contextlib.contextmanager
def _api(backends: str) -> Iterator[_Api]:
    with temporary("bench") as folder, ApiProcess(folder, f"sqlite:///{folder}/db", "--backends", backends) as process:
        yield _Api(process)


def _plan() -> tuple[float, float]:
    """Return the processor time of the backends, from their snapshots to what the host must have, and of its agent.

    The agent's is that of a whole comparison on a kernel in memory which has everything: its plan is half of that.
    """
    states, host = HostStates(), FakeHost(Faults(), lambda _revision, _statuses: None)
    host.start(states, HOSTS[0])
    parts: list[tuple[Backend, Snapshot]] = [
        (BridgeBackend(states), _snapshot(routed=False)),
        (RoutedBackend(states), _snapshot(routed=True)),
    ]
    began = time.process_time()
    for backend, want in parts:
        backend.sync(want, Dirty(everything=True))
    states.publish(1)
    backends_s = time.process_time() - began
    host.settle()
    assert sum(name.startswith("pb") for name in host.kernel.namespaces[OURS]) == PORTS
    assert host.loop.measures()["errors"] == 0
    began = time.process_time()
    host.suspect()
    host.settle()
    return backends_s, time.process_time() - began


def _snapshot(*, routed: bool) -> Snapshot:
    """Return one backend's part: every other network and its ports, and all groups, which let their own in."""
    want = Snapshot()
    for number in range(int(routed), NETWORKS, 2):
        kind = {"provider:network_type": "routed" if routed else "local"}
        want.put("network", network_row(object_id("network", number)) | kind)
        want.put("subnet", subnet_row(PutSubnet(number, 4)) | {"cidr": f"10.1.{number}.0/24"})
    for number in range(GROUPS):
        want.put("security_group", {"id": object_id("security_group", number), "project_id": PROJECT, "stateful": True})
        for rule in (PutRule(2 * number, number, remote_group=number), PutRule(2 * number + 1, number, "egress")):
            want.put("security_group_rule", rule_row(rule))
    for number in range(PORTS):
        network, place = number % NETWORKS, number // NETWORKS
        if network % 2 == int(routed):
            address = {"subnet_id": subnet_id(network, 4), "ip_address": f"10.1.{network}.{10 + place}"}
            group_id = object_id("security_group", place % GROUPS)
            more = {"mac_address": f"02:00:00:00:{number >> 8:02x}:{number & 0xFF:02x}", "fixed_ips": [address]}
            want.put("port", port_row(PutPort(number, network)) | more | {"security_groups": [group_id]})
    return want
