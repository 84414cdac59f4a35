# SPDX-License-Identifier: Apache-2.0
"""What the demo measures: who reaches whom, round-trip times, throughput."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from demo.cast import ANN, ANN_ROUTED, BOB, CLOSED_PORT, GIL, PEER, REX, ROY, VM, Trial, Workload, trials
from demo.screen import Screen
from demo.stage import Stage
from demo.ways import TRACED, WAYS, Told, Way, address, trace

WAIT_S = 2  # for an answer that may be on its way; what is filtered never comes
AT_ONCE = 6
IPERF_S = 3
DOWNLOAD_MB = 32


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured: what, and its value with unit."""

    what: str
    value: str


def reach(stage: Stage, screen: Screen) -> dict[Trial, bool]:
    """Try every probe between every two workloads."""
    questions = trials()
    found: dict[Trial, bool] = {}
    with screen.step("who reaches whom") as step, ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {pool.submit(_try, stage, trial): trial for trial in questions}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            step.detail = f"{len(found)} of {len(questions)} tried"
    return {trial: found[trial] for trial in questions}


def ways(stage: Stage, screen: Screen) -> tuple[dict[Way, bool], list[Told]]:
    """Try the ways across the router, out and in, and ask `portico trace` about some."""
    with screen.step("across the router, out, and in"), ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(WAYS, pool.map(lambda way: _try_way(stage, way), WAYS), strict=True))
    with screen.step("portico trace"):
        return found, [trace(stage, way) for way in TRACED]


def _try_way(stage: Stage, way: Way) -> bool:
    return _has_page(stage, way.source, f"http://{address(stage, way)}:{way.port}/", way.target)


def figures(stage: Stage, screen: Screen) -> list[Figure]:
    """Measure round-trip times and TCP throughput between some pairs."""
    with screen.step("round-trip times and throughput") as step:
        found = []
        for source, target in ((ANN, BOB), (REX, ROY), (ANN, VM), (GIL, VM), (ANN_ROUTED, PEER)):
            step.detail = f"{source.name} pings {target.name}"
            found.append(Figure(f"round trip {_pair(source, target)}", _round_trip(stage, source, target)))
        step.detail = "iperf3 from ann to bob"
        found.append(Figure(f"TCP {_pair(ANN, BOB)}, iperf3", _iperf(stage, ANN, BOB)))
        step.detail = f"ann downloads {DOWNLOAD_MB} MB from vm"
        found.append(Figure(f"TCP {_pair(VM, ANN)}, HTTP", _download(stage, VM, ANN)))
        step.detail = f"{len(found)} figures"
    return found


def _try(stage: Stage, trial: Trial) -> bool:
    address = stage.addresses[trial.target]
    if trial.probe == "ping":
        return stage.run(trial.source, ["ping", "-c", "1", "-W", str(WAIT_S), address]).ok
    url = f"http://{address}:{trial.probe.removeprefix('tcp ')}/"
    return _has_page(stage, trial.source, url, trial.target)


def _has_page(stage: Stage, source: Workload, url: str, target: Workload) -> bool:
    page = stage.run(source, ["timeout", str(WAIT_S), "wget", "-q", "-O", "-", url])
    return page.ok and page.out.strip() == target.name


def _pair(source: Workload, target: Workload) -> str:
    where = source.network if source.network == target.network else f"{source.network} to {target.network}"
    return f"{source.name} -> {target.name} ({source.kind} to {target.kind}, {where})"


def _round_trip(stage: Stage, source: Workload, target: Workload) -> str:
    argv = ["ping", "-c", "20", "-i", "0.05", "-q", stage.addresses[target]]
    text = stage.run(source, argv, check=True).out
    match = re.search(r"min/avg/max = ([\d.]+)/([\d.]+)/([\d.]+) ms", text)
    if match is None:
        raise AssertionError(f"{source.name}: ping: no round-trip times in {text!r}")
    return f"{float(match[2]):.2f} ms (least {float(match[1]):.2f})"


def _iperf(stage: Stage, source: Workload, target: Workload) -> str:
    stage.run(target, ["iperf3", "--server", "--one-off", "--daemon"], check=True)
    argv = ["iperf3", "--client", stage.addresses[target], "--time", str(IPERF_S), "--json"]
    report = json.loads(stage.run(source, argv, check=True).out)
    return f"{report['end']['sum_received']['bits_per_second'] / 1e9:.1f} Gbit/s"


def _download(stage: Stage, source: Workload, target: Workload) -> str:
    stage.run(source, ["dd", "if=/dev/zero", "of=/www/zeros", "bs=1M", f"count={DOWNLOAD_MB}"], check=True)
    started = time.monotonic()
    url = f"http://{stage.addresses[source]}:{CLOSED_PORT}/zeros"
    stage.run(target, ["wget", "-q", "-O", "/dev/null", url], check=True)
    seconds = time.monotonic() - started
    return f"{DOWNLOAD_MB * 8 * 1.048576 / seconds / 1000:.2f} Gbit/s"
