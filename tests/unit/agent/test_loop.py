# SPDX-License-Identifier: Apache-2.0
"""The loop against a kernel in memory: order, retry, restart, and faults at every step."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.agent.loop import Loop
from portico.hoststate import Bridge, Group, HostObject, Status, Update, Vif, key_of
from portico.testing.fakedrivers import FakeDrivers, Killed


class Agent:
    """A loop on a fake kernel with a clock that is set by hand."""

    def __init__(self, kernel: FakeDrivers, linger_s: float = 0.0) -> None:
        self.kernel = kernel
        self.now = 100.0
        self.statuses: dict[str, Status] = {}
        self.reports: list[tuple[int, tuple[Status, ...]]] = []
        self.loop = Loop(kernel.drivers(), clock=lambda: self.now, report=self._report, linger_s=linger_s)

    def _report(self, revision: int, statuses: Collection[Status]) -> None:
        self.reports.append((revision, tuple(statuses)))
        self.statuses |= {status.key: status for status in statuses}

    def give(self, *objects: HostObject, gone: tuple[str, ...] = (), complete: bool = False, revision: int = 1) -> None:
        self.loop.accept(Update(revision, objects, gone, complete))
        self.loop.step()

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.loop.step()

    def states(self) -> dict[str, str]:
        return {key: status.state for key, status in self.statuses.items()}


def vif(number: int) -> Vif:
    return Vif(f"p{number}", "n1", "00:00:5e:00:53:01", 1500, f"pv{number}")


NET, GROUP = Bridge("n1", 1500), Group("g1", ())
ALL = (NET, GROUP, vif(1), vif(2))


def test_things_are_made_in_order_and_removed_in_reverse() -> None:
    agent = Agent(FakeDrivers())
    agent.give(NET, vif(1), complete=True)
    made = [(layer, key) for layer, verb, key in agent.kernel.calls if key == "vif/p1"]
    assert [layer for layer, _ in made] == ["pair", "filter", "carrier"]
    agent.kernel.calls.clear()
    agent.give(gone=("vif/p1", "bridge/n1"))
    undone = [(layer, key) for layer, _, key in agent.kernel.calls]
    assert [layer for layer, key in undone if key == "vif/p1"] == ["carrier", "filter", "pair"]
    assert undone[-1] == ("bridge", "bridge/n1")
    assert agent.states() == {"vif/p1": "gone", "bridge/n1": "gone"}


def test_a_bridge_stays_a_while_for_the_next_port() -> None:
    agent = Agent(FakeDrivers(), linger_s=10)
    agent.give(NET, vif(1), complete=True)
    agent.kernel.calls.clear()
    agent.give(gone=("vif/p1", "bridge/n1"))
    assert {key for _, _, key in agent.kernel.calls} == {"vif/p1"}
    agent.later(9)
    agent.give(NET, vif(2))
    assert [key for _, _, key in agent.kernel.calls if key.startswith("bridge")] == []
    agent.later(9)
    assert agent.states() == {"vif/p1": "gone", "vif/p2": "active", "bridge/n1": "active"}


def test_a_bridge_goes_when_no_port_comes() -> None:
    agent = Agent(FakeDrivers(), linger_s=10)
    agent.give(NET, vif(1), complete=True)
    agent.give(gone=("vif/p1", "bridge/n1"))
    wait_s = agent.loop.next_s()
    assert wait_s is not None and 9 < wait_s <= 10
    agent.later(wait_s)
    assert "bridge/n1" not in agent.kernel.state["bridge"]
    assert agent.states() == {"vif/p1": "gone", "bridge/n1": "gone"}


def test_a_complete_update_leaves_no_bridge_for_later() -> None:
    agent = Agent(FakeDrivers(), linger_s=10)
    agent.give(NET, vif(1), complete=True)
    agent.give(gone=("vif/p1", "bridge/n1"))
    agent.give(GROUP, complete=True)
    assert "bridge/n1" not in agent.kernel.state["bridge"]


def test_an_object_that_is_told_again_is_looked_at_and_reported() -> None:
    agent = Agent(FakeDrivers())
    agent.give(*ALL, complete=True)
    agent.kernel.calls.clear()
    agent.reports.clear()
    agent.give(vif(1), revision=2)
    assert agent.kernel.calls == []
    assert agent.reports == [(2, (Status("vif/p1", "active"),))]


def test_a_second_complete_update_changes_nothing() -> None:
    agent = Agent(FakeDrivers())
    agent.give(*ALL, complete=True)
    agent.kernel.calls.clear()
    agent.reports.clear()
    agent.give(*ALL, complete=True)
    agent.later(31)
    assert agent.kernel.calls == []
    assert agent.reports == []


def test_a_changed_object_is_reported_with_the_revision_that_realised_it() -> None:
    agent = Agent(FakeDrivers())
    agent.give(*ALL, complete=True)
    agent.reports.clear()
    agent.give(Group("g1", (), stateful=False), revision=9)
    assert agent.reports == [(9, (Status("group/g1", "active"),))]


def test_nothing_is_done_before_the_first_complete_update() -> None:
    kernel = FakeDrivers()
    kernel.state["pair"]["vif/old"] = vif(9)
    agent = Agent(kernel)
    agent.give(vif(1))
    agent.later(100)
    assert kernel.calls == []
    agent.give(NET, complete=True)
    assert "vif/old" not in kernel.state["pair"]


def test_one_bad_object_stops_no_other_and_is_retried_ever_less_often() -> None:
    kernel = FakeDrivers()
    tries: list[float] = []

    def fail(layer: str, verb: str, key: str) -> str | None:
        if (layer, key) == ("pair", "vif/p1"):
            tries.append(agent.now)
            return "no"
        return None

    kernel.fail = fail
    agent = Agent(kernel)
    agent.give(*ALL, complete=True)
    assert agent.states() == {"bridge/n1": "active", "group/g1": "active", "vif/p1": "error", "vif/p2": "active"}
    for _ in range(600):
        agent.later(0.1)
    gaps = [after - before for before, after in itertools.pairwise(tries)]
    assert gaps[0] < 0.5 and max(gaps) > 10
    kernel.fail = lambda *_: None
    agent.later(31)
    assert agent.states()["vif/p1"] == "active"


def test_what_is_wrong_is_told_by_kind() -> None:
    kernel = FakeDrivers(fail=lambda layer, *_: f"no {layer}" if layer in ("filter", "carrier") else None)
    agent = Agent(kernel)
    agent.give(*ALL, complete=True)
    assert agent.loop.troubles("vif", "bridge") == ["no filter", "no filter", "no filter"]
    assert agent.loop.troubles("group") == ["no filter"] and agent.loop.troubles("peer") == []
    kernel.fail = lambda *_: None
    agent.later(60)
    assert agent.loop.troubles("vif", "bridge", "group") == []


def test_a_port_whose_rules_fail_stays_down() -> None:
    kernel = FakeDrivers()
    kernel.fail = lambda layer, _, key: "no" if (layer, key) == ("filter", "vif/p1") else None
    agent = Agent(kernel)
    agent.give(*ALL, complete=True)
    assert "vif/p1" not in kernel.state["carrier"]
    assert agent.statuses["vif/p1"].reason == "no"


def test_active_is_said_only_of_what_is_read_back() -> None:
    kernel = FakeDrivers()
    kernel.ignored.add("vif/p1")
    agent = Agent(kernel)
    agent.give(*ALL, complete=True)
    assert agent.states()["vif/p1"] == "error"
    assert "the kernel has None" in agent.statuses["vif/p1"].reason


def test_a_strangers_edit_is_repaired_at_the_next_full_pass_or_at_once_on_suspicion() -> None:
    agent = Agent(FakeDrivers())
    agent.give(*ALL, complete=True)
    del agent.kernel.state["pair"]["vif/p1"]
    agent.later(31)
    assert "vif/p1" in agent.kernel.state["pair"]
    del agent.kernel.state["pair"]["vif/p2"]
    agent.loop.suspect(["vif/p2"])
    agent.later(0)
    assert "vif/p2" in agent.kernel.state["pair"]


def test_a_driver_that_forgot_has_everything_read_again() -> None:
    agent = Agent(FakeDrivers())
    agent.give(*ALL, complete=True)
    agent.kernel.state["filter"].clear()
    agent.kernel.forget.add("filter")
    agent.give(vif(3))
    assert set(agent.kernel.state["filter"]) == {"bridge/n1", "group/g1", "vif/p1", "vif/p2", "vif/p3"}


def test_what_went_is_reported_once_and_what_never_was_not_at_all() -> None:
    agent = Agent(FakeDrivers())
    agent.give(*ALL, complete=True)
    agent.give(gone=("vif/p1",))
    agent.reports.clear()
    agent.loop.suspect(["vif/p1", "vif/p9"])
    agent.later(1)
    assert agent.reports == []


def test_resend_tells_every_status_again() -> None:
    agent = Agent(FakeDrivers())
    agent.give(*ALL, complete=True, revision=5)
    agent.reports.clear()
    agent.loop.resend()
    assert agent.reports[0][0] == 5 and {s.key for s in agent.reports[0][1]} == {key_of(item) for item in ALL}


@pytest.mark.parametrize("died_at", range(9))
def test_a_successor_converges_wherever_the_agent_was_killed(died_at: int) -> None:
    kernel = FakeDrivers()
    count = 0

    def fail(_layer: str, _verb: str, _key: str) -> str | None:
        nonlocal count
        count += 1
        if count > died_at:
            raise Killed
        return None

    kernel.state["pair"]["vif/old"] = vif(9)
    kernel.fail = fail
    with pytest.raises(Killed):
        Agent(kernel).give(*ALL, complete=True)
    assert list(kernel.open_ports()) == []
    kernel.fail = lambda *_: None
    Agent(kernel).give(*ALL, complete=True)
    assert set(kernel.state["pair"]) == set(kernel.state["carrier"]) == {"vif/p1", "vif/p2"}


Step = st.tuples(st.sampled_from(["put", "gone", "complete", "restart", "corrupt"]), st.integers(1, 4))


@given(
    st.lists(Step, max_size=20), st.sets(st.tuples(st.sampled_from(["pair", "filter", "carrier"]), st.integers(1, 4)))
)
def test_whatever_happens_the_kernel_ends_as_wanted_and_no_port_is_ever_open(
    steps: list[tuple[str, int]], faults: set[tuple[str, int]]
) -> None:
    kernel = FakeDrivers()
    agent = Agent(kernel)
    wanted: dict[str, HostObject] = {key_of(NET): NET}
    agent.give(NET, complete=True)
    kernel.fail = lambda layer, _, key: "no" if (layer, int(key[-1])) in faults and key.startswith("vif") else None
    for what, number in steps:
        key = f"vif/p{number}"
        match what:
            case "put":
                wanted[key] = vif(number)
                agent.give(vif(number))
            case "gone":
                wanted.pop(key, None)
                agent.give(gone=(key,))
            case "complete":
                agent.give(*wanted.values(), complete=True)
            case "restart":
                agent = Agent(kernel)
                agent.give(*wanted.values(), complete=True)
            case "corrupt":
                kernel.state["pair"].pop(key, None)
        assert list(kernel.open_ports()) == []
    kernel.fail = lambda *_: None
    agent.later(31)
    ports = {key for key in wanted if key.startswith("vif/")}
    assert set(kernel.state["pair"]) == set(kernel.state["carrier"]) == ports, kernel.show()
    assert {key for key, state in agent.states().items() if state == "active"} == set(wanted)


def test_the_loop_tells_of_its_passes_their_time_and_what_is_not_as_wanted() -> None:
    kernel = FakeDrivers()
    agent = Agent(kernel)

    def fail(layer: str, verb: str, key: str) -> str | None:
        if (layer, key) != ("pair", "vif/p1"):
            return None
        agent.now += 0.25
        return "no"

    kernel.fail = fail
    assert agent.loop.measures() == {"passes": 0, "pass_seconds": 0, "errors": 0}
    agent.give(*ALL, complete=True)
    assert agent.loop.measures() == {"passes": 1, "pass_seconds": 0.25, "errors": 1}
    kernel.fail = lambda *_: None
    agent.later(31)
    assert agent.loop.measures() == {"passes": 2, "pass_seconds": 0.25, "errors": 0}


def test_while_a_part_is_unknown_what_is_known_is_made_and_nothing_is_swept() -> None:
    kernel = FakeDrivers()
    Agent(kernel).give(*ALL, Bridge("n9", 1500), complete=True)
    agent = Agent(kernel)
    agent.loop.accept(Update(1, (NET, vif(1), vif(3)), complete=True, unknown=("routed",)))
    agent.loop.step()
    assert {"vif/p1", "vif/p2", "vif/p3"} <= kernel.state["pair"].keys() and "bridge/n9" in kernel.state["bridge"]
    assert agent.states() == {"bridge/n1": "active", "vif/p1": "active", "vif/p3": "active"}
    agent.loop.suspect(["vif/p2"])
    agent.later(1)
    agent.later(31)
    assert "vif/p2" in kernel.state["pair"]
    wait_s = agent.loop.next_s()
    assert wait_s is not None and wait_s > 0, "what may not be touched is not looked at for ever"
    agent.give(gone=("vif/p1",))
    assert kernel.state["pair"].keys() == {"vif/p2", "vif/p3"} and agent.states()["vif/p1"] == "gone"
    agent.give(NET, vif(3), complete=True)
    assert kernel.state["pair"].keys() == {"vif/p3"} and kernel.state["bridge"].keys() == {"bridge/n1"}


def test_an_agent_that_comes_back_to_an_unknown_part_goes_on_with_what_it_had() -> None:
    agent = Agent(FakeDrivers())
    agent.give(*ALL, complete=True)
    zones = dict(agent.loop.wanted.zones)
    agent.kernel.calls.clear()
    agent.loop.accept(Update(2, (GROUP,), complete=True, unknown=("bridge",)))
    agent.loop.step()
    assert agent.kernel.calls == []
    assert agent.loop.wanted.zones == zones


def test_zones_of_networks_in_an_unknown_part_are_given_to_no_other() -> None:
    agent = Agent(FakeDrivers())
    agent.loop.learn_zones({"n1": 1})
    agent.loop.accept(Update(1, (Bridge("n2", 1500),), complete=True, unknown=("other",)))
    agent.loop.accept(Update(2, (NET, Bridge("n2", 1500)), complete=True))
    assert agent.loop.wanted.zones == {"n1": 1, "n2": 2}
