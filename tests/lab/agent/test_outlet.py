# SPDX-License-Identifier: Apache-2.0
"""Ports that another network service realises, plugged into its bridges; the service is `ip link` here."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from msgspec import structs

from portico.hoststate import Outlet
from portico.testing.lab import wait_until
from portico.testing.rig import Rig, Workload, port

pytestmark = pytest.mark.lab

PORTS = [f"{number:08d}-0000-4000-8000-000000000000" for number in (1, 2)]
KEY = f"outlet/{PORTS[0]}"


def outlet(number: int, **fields: Any) -> Outlet:
    given = {"way": "bridge", "bridge": "brqfar", "plug": "veth", "link_name": f"pv{PORTS[number][:11]}", **fields}
    return Outlet(PORTS[number], f"00:00:5e:00:53:0{number}", 1442, f"tapfar{number}", **given)


def make_bridge(rig: Rig) -> None:
    rig.host.run(["ip", "link", "add", "brqfar", "type", "bridge"])
    rig.host.run(["ip", "link", "set", "brqfar", "up"])


def links(rig: Rig) -> str:
    return rig.host.run(["ip", "-d", "link"]).out


def plug(rig: Rig, number: int) -> Workload:
    """Move the container's end into a namespace, as Docker does."""
    vif = port(number + 1, link_name=outlet(number).link_name)
    return rig.plug(f"c{number}", vif, f"10.0.0.{number + 1}/24")


def test_a_container_of_a_remote_network_waits_for_its_bridge_and_reaches_another(rig: Rig) -> None:
    rig.want(outlet(0), outlet(1))
    rig.start()
    status = rig.statuses()[KEY]
    assert (status.state, status.reason) == ("waiting", "bridge brqfar does not exist on this host yet")
    make_bridge(rig)
    rig.wait_status(KEY, "active")
    rig.wait_status(f"outlet/{PORTS[1]}", "active")
    one, other = plug(rig, 0), plug(rig, 1)
    assert "mtu 1442" in one.run("ip", "link", "show", "eth0").out
    assert "00:00:5e:00:53:00" in one.run("ip", "link", "show", "eth0").out
    wait_until("the other container answers", lambda: one.pings("10.0.0.2"), 20)
    rig.host.run(["ip", "link", "set", "tapfar1", "nomaster"])
    wait_until("it is put back", lambda: other.pings("10.0.0.1"), 20)
    rig.pause()
    assert one.pings("10.0.0.2")
    rig.want(gone=[outlet(1)])
    rig.start()
    wait_until("it is gone", lambda: "tapfar1" not in links(rig), 20)
    assert "tapfar0" in links(rig) and "brqfar" in links(rig)


def test_a_hypervisors_tap_is_put_into_the_bridge_and_let_go(rig: Rig) -> None:
    make_bridge(rig)
    machine = outlet(0, plug="tap", link_name="")
    rig.want(machine)
    rig.start()
    assert rig.statuses()[KEY].reason == "link tapfar0 does not exist on this host yet"
    rig.host.run(["ip", "tuntap", "add", "tapfar0", "mode", "tap"])
    rig.wait_status(KEY, "active")
    assert "master brqfar" in rig.host.run(["ip", "link", "show", "tapfar0"]).out
    rig.want(gone=[machine])
    shown = rig.host.run(["ip", "-d", "link", "show", "tapfar0"]).out
    assert "master" not in shown and "alias" not in shown


def test_a_tap_that_was_asked_for_is_made_and_removed(rig: Rig) -> None:
    made = outlet(0, way="tap", bridge="", plug="tap", link_name="", make_tap=True)
    rig.want(made)
    rig.start()
    assert rig.statuses()[KEY].state == "active"
    assert f"portico:{PORTS[0]} made portico" in links(rig)
    rig.want(gone=[made])
    assert "tapfar0" not in links(rig)


def test_a_link_that_the_service_makes_is_waited_for(rig: Rig) -> None:
    rig.want(outlet(0, way="link", bridge="", plug="tap", link_name=""))
    rig.start()
    assert rig.statuses()[KEY].state == "waiting"
    rig.host.run(["ip", "link", "add", "tapfar0", "type", "veth", "peer", "name", "theirs"])
    rig.wait_status(KEY, "active")
    rig.want(gone=[outlet(0)])
    assert "tapfar0" in links(rig)


def test_what_cannot_be_plugged_says_why(rig: Rig) -> None:
    make_bridge(rig)
    rig.host.run(["ip", "link", "add", "tapfar0", "type", "veth", "peer", "name", "theirs"])
    rig.want(outlet(0), structs.replace(outlet(1), device="no/link"))
    rig.start()
    status = rig.statuses()[KEY]
    assert (status.state, status.reason) == ("error", "link tapfar0: the host has one of that name that is not ours")
    assert rig.statuses()[f"outlet/{PORTS[1]}"].reason == "link 'no/link': no link can have that name"
    rig.want(outlet(0, way="ovs", bridge="br-int", interface_id="theirs"))
    reason = rig.statuses()[KEY].reason
    assert reason == "vif_type ovs: Open vSwitch is not on this host: there is no ovs-vsctl"


def test_purging_removes_what_was_made_and_lets_go_of_the_rest(rig: Rig) -> None:
    make_bridge(rig)
    rig.host.run(["ip", "tuntap", "add", "tapfar1", "mode", "tap"])
    rig.want(outlet(0), outlet(1, plug="tap", link_name=""))
    rig.start()
    assert {status.state for status in rig.statuses().values()} == {"active"}
    rig.pause()
    command = [sys.executable, "-m", "portico.cli", "agent", "--purge", "--state-dir", "/tmp", "--run-dir", "/run"]
    told = rig.host.run(command).out
    assert "removed outlet tapfar0" in told and "removed outlet tapfar1" in told
    shown = links(rig)
    assert "tapfar0" not in shown and "portico:" not in shown and "tapfar1" in shown and "brqfar" in shown
