# SPDX-License-Identifier: Apache-2.0
"""One run: Portico, its agents and the tests, from start to end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance import agents, portico, tempest, workspace
from conformance.keystone import Keystone
from conformance.outcome import Outcome
from conformance.selection import Expected, Selection
from portico.testing.folder import temporary

# The suites expect quotas, as Neutron has them: some set one that is a little higher than what there is.
QUOTAS = {"quota.network": "100", "quota.security_group": "50", "quota.security_group_rule": "1000"}
VLANS = {"network.vlan_ranges": f"{agents.PHYSICAL_NETWORK}:100:299"}


@dataclass(frozen=True, slots=True)
class Run:
    """What became of each test, and what is expected of the server that was tested."""

    outcomes: list[Outcome]
    expected: Expected


def run(
    selection: Selection,
    patterns: Sequence[str],
    settings: Mapping[str, str],
    identity: Keystone,
    *,
    at_once: int,
    limit_s: float,
) -> Run:
    """Run tests against a new Portico with these settings, which asks `identity` and is named in its catalog."""
    with (
        temporary("workspace") as folder,
        portico.running({**_settings(identity, folder), **settings}) as server,
        agents.running(server),
    ):
        identity.publish(server.url)
        cloud = workspace.prepare(server.url, identity)
        workspace.write(folder, cloud, identity)
        expected = Expected(selection, cloud.extensions)
        found = tempest.run(folder, patterns, expected, at_once=at_once, limit_s=limit_s, told=_show)
    return Run(found, expected)


def _settings(identity: Keystone, folder: Path) -> dict[str, str]:
    return {**portico.identity_settings(identity, folder), **QUOTAS, **VLANS}


def _show(line: dict[str, Any]) -> None:
    """Tell whoever waits what has gone wrong so far."""
    if line["status"] not in {"success", "skip"}:
        sys.stderr.write(f"{line['status']}: {line['id']}\n")
