# SPDX-License-Identifier: Apache-2.0
"""What it costs a request that there are several backends: in calls of functions, which no other work changes.

`python -m bench broker` measures the same in processor time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from portico import settings
from portico.testing.in_process import InProcessApi


def calls(work: Callable[[], object]) -> int:
    """Return how many functions are called, those written in C too."""
    found = 0

    def count(_frame: object, event: str, _about: object) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


def least(*works: Callable[[], object]) -> int:
    """Return the fewest calls of some that do the same: garbage may be collected in any of them."""
    return min(map(calls, works))


def costs(folder: Path, *backends: str) -> dict[str, int]:
    """Return the calls of requests about a port of the first backend, and of what the broker does about its create."""
    folder.mkdir()
    (folder / "empty.toml").touch()
    given = {"state_dir": str(folder), "run_dir": str(folder), "backends": [*backends]}
    api = InProcessApi(settings.load(folder / "empty.toml", given, {}))
    broker = api.broker
    assert [*broker.lanes] == [*backends]
    network = api.create("networks", {"name": "blue"})["id"]
    api.create("subnets", {"network_id": network, "cidr": "10.1.0.0/24", "ip_version": 4})
    body = {"network_id": network, "binding:host_id": "h"}
    ports = []
    for _ in range(20):  # what is made or looked up once is no part of it
        ports.append(api.create("ports", body)["id"])
        broker.step(everything=False)
    creates, follows = [], []
    for _ in range(3):
        creates.append(calls(lambda: api.create("ports", body)))
        follows.append(calls(lambda: broker.step(everything=False)))
    return {
        "create": min(creates),
        "follow": min(follows),
        "update": least(*(partial(api.update, "ports", port, {"name": "web"}) for port in ports[:3])),
        "list": least(*[partial(api.list, "ports", network_id=network)] * 3),
        "delete": least(*(partial(api.delete, "ports", port) for port in ports[3:6])),
    }


def test_a_second_backend_adds_less_than_a_twentieth_to_each_request(tmp_path: Path) -> None:
    one, two = costs(tmp_path / "one", "bridge"), costs(tmp_path / "two", "bridge", "routed")
    followed = (one.pop("follow"), two.pop("follow"))
    assert all(one[name] > 300 for name in one)
    assert {name: two[name] / one[name] for name in one if two[name] > 1.05 * one[name]} == {}
    assert followed[1] - followed[0] < 0.05 * one["create"], "what the broker does for the other lane, beside a create"
