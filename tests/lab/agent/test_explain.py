# SPDX-License-Identifier: Apache-2.0
"""What is wanted of a port beside what the kernel has, when something wanted cannot be had."""

from __future__ import annotations

import sys

import pytest

from portico.hoststate import Guard, Member, Source
from portico.testing.rig import ANY, NET_A, Rig, group, network, port

pytestmark = pytest.mark.lab

EXPLAIN = """
import sys
from pathlib import Path
import msgspec
from portico.agent.explain import explain
from portico.agent.runtime import Place
from portico.hoststate import Update
update = msgspec.json.decode(Path("/run/portico.json").read_bytes(), type=Update)
place = Place("portico", Path("/var/lib/portico"), Path("/run/portico"))
for row in explain(place, update.objects, sys.argv[1]):
    if not row.same:
        print(row.aspect, "|", row.wanted)
"""


def differences(rig: Rig, port_id: str) -> list[str]:
    return rig.host.run([sys.executable, "-c", EXPLAIN, port_id]).out.splitlines()


def test_an_address_that_is_none_is_shown_at_its_port_and_hides_nothing_of_others(rig: Rig) -> None:
    asking = group(1, *ANY)
    good = port(1, asking.group_id)
    bad = port(2, guard=Guard((Source("00:00:5e:00:53:02", "10.0.0.2/33"),), (asking.group_id,)))
    rig.want(network(), asking, good, bad, Member(asking.group_id, NET_A, "nothing"))
    rig.start()
    assert rig.statuses()[f"vif/{good.port_id}"].state == "active"
    reason = f"vif/{bad.port_id}: guard.sources[0].cidr '10.0.0.2/33' is not an IPv4 or IPv6 network in CIDR notation"
    assert rig.statuses()[f"vif/{bad.port_id}"].reason == reason
    assert differences(rig, good.port_id) == []
    assert f"filter | {reason}" in differences(rig, bad.port_id)
