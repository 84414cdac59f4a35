# SPDX-License-Identifier: Apache-2.0
"""The namespace is what it has to be, or nothing in it is said to be active."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.agent.delta import Wanted
from portico.agent.drivers.sysctls import VALUES, SysctlDriver, abilities
from portico.agent.loop import Loop
from portico.hoststate import Bridge, Group, Status, Update, Vif
from portico.testing.fakedrivers import FakeDrivers

OBJECTS = (Bridge("n1", 1500), Group("g1", ()), Vif("p1", "n1", "00:00:5e:00:53:01", 1500, "pv1"))


class Namespace:
    """Sysctls in a folder, and modules that can be loaded or not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        self.loadable = True
        for name in VALUES:
            if name.startswith("ipv6"):
                self._make(name)

    def _make(self, name: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("7\n")

    def load(self, module: str) -> None:
        self.asked.append(module)
        folder = {"br_netfilter": "bridge", "nf_conntrack": "netfilter"}[module]
        for name in VALUES if self.loadable else ():
            if name.startswith(folder):
                self._make(name)

    def driver(self) -> SysctlDriver:
        return SysctlDriver(self.root, self.load)

    def values(self) -> dict[str, str]:
        return {name: (self.root / name).read_text().strip() for name in VALUES}


@pytest.fixture
def namespace(tmp_path: Path) -> Namespace:
    return Namespace(tmp_path)


def test_modules_are_loaded_and_values_set_and_set_again_by_a_full_pass(namespace: Namespace) -> None:
    driver = namespace.driver()
    driver.read(None)
    assert sorted(namespace.asked) == ["br_netfilter", "nf_conntrack"]
    assert namespace.values() == VALUES
    (namespace.root / "netfilter/nf_conntrack_tcp_loose").write_text("1\n")
    driver.read(None)
    assert namespace.values() == VALUES


def test_a_kernel_without_ipv6_is_no_trouble(namespace: Namespace) -> None:
    for name in VALUES:
        if name.startswith("ipv6"):
            (namespace.root / name).unlink()
    driver, wanted = namespace.driver(), Wanted()
    driver.read(None)
    assert driver.plan(wanted, wanted.change(OBJECTS, (), whole=True)) == ({}, {})


def test_without_a_module_nothing_is_active_and_it_is_as_soon_as_it_is_there(namespace: Namespace) -> None:
    namespace.loadable = False
    now, statuses = 100.0, dict[str, Status]()
    loop = Loop(
        [namespace.driver(), *(fake := FakeDrivers()).drivers()],
        clock=lambda: now,
        report=lambda _, told: statuses.update({status.key: status for status in told}),
    )
    loop.accept(Update(1, OBJECTS, complete=True))
    loop.step()
    reason = "the kernel module br_netfilter is not loaded (modprobe br_netfilter)"
    assert {key: status.state for key, status in statuses.items()} == {
        "bridge/n1": "error",
        "vif/p1": "error",
        "group/g1": "active",
    }
    assert statuses["vif/p1"].reason == reason
    assert [key for _, _, key in fake.calls if key != "group/g1"] == []
    namespace.loadable = True
    now += 1
    loop.step()
    assert {status.state for status in statuses.values()} == {"active"}
    assert namespace.values() == VALUES


def test_a_module_that_goes_while_ports_are_there_is_told(namespace: Namespace) -> None:
    driver, wanted = namespace.driver(), Wanted()
    keys = wanted.change(OBJECTS, (), whole=True)
    driver.read(None)
    namespace.loadable = False
    for path in (namespace.root / "bridge").iterdir():
        path.unlink()
    (namespace.root / "bridge").rmdir()
    driver.read(["vif/p1"])
    assert set(driver.plan(wanted, keys)[1]) == {"bridge/n1", "vif/p1"}


def test_an_agent_tells_what_its_host_lacks_and_tries_to_load_it_first(namespace: Namespace) -> None:
    namespace.loadable = False
    why = "the kernel module br_netfilter is not loaded (modprobe br_netfilter)"
    assert abilities(namespace.root, namespace.load)["bridge"] == why
    assert set(namespace.asked) == {"br_netfilter", "nf_conntrack"}
    namespace.loadable = True
    assert abilities(namespace.root, namespace.load)["bridge"] == ""
