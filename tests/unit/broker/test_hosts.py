# SPDX-License-Identifier: Apache-2.0
"""The wanted state of hosts: what followers are told, and when."""

from __future__ import annotations

from portico.broker.hosts import HostStates
from portico.hoststate import Bridge, HostObject, Update, key_of

A, B = Bridge(network_id="a", mtu=1500), Bridge(network_id="b", mtu=1500)


def follow(hosts: HostStates, host: str = "h1") -> list[Update]:
    updates: list[Update] = []
    hosts.follow(host, updates.append)
    return updates


def keys(update: Update) -> tuple[set[str], set[str]]:
    return {key_of(item) for item in update.objects}, set(update.gone)


def test_who_comes_first_is_told_nothing_before_the_first_publish() -> None:
    hosts = HostStates()
    updates = follow(hosts)
    hosts.put("bridge", "h1", [A], ())
    assert updates == []
    hosts.publish(1)
    assert updates == [Update(revision=1, objects=(A,), complete=True)]


def test_a_host_with_nothing_is_told_so() -> None:
    hosts = HostStates()
    updates = follow(hosts)
    hosts.publish(4)
    assert updates == [Update(revision=4, complete=True)]


def test_who_comes_later_gets_the_whole_then_differences() -> None:
    hosts = HostStates()
    hosts.put("bridge", "h1", [A], ())
    hosts.publish(1)
    updates = follow(hosts)
    hosts.put("bridge", "h1", [B], ["bridge/a"])
    hosts.publish(2)
    assert updates[0] == Update(revision=1, objects=(A,), complete=True)
    assert updates[1:] == [Update(revision=2, objects=(B,), gone=("bridge/a",))]


def test_equal_objects_and_absent_keys_are_free() -> None:
    hosts = HostStates()
    hosts.put("bridge", "h1", [A], ())
    hosts.publish(1)
    updates = follow(hosts)
    hosts.put("bridge", "h1", [Bridge(network_id="a", mtu=1500)], ["bridge/unknown"])
    hosts.replace("bridge", "h1", [A])
    hosts.publish(2)
    assert len(updates) == 1


def test_only_hosts_that_are_concerned_are_told() -> None:
    hosts = HostStates()
    hosts.publish(1)
    near, far = follow(hosts, "h1"), follow(hosts, "h2")
    hosts.put("bridge", "h1", [A], ())
    hosts.publish(2)
    assert (len(near), len(far)) == (2, 1)


def test_replace_leaves_other_backends_parts_alone() -> None:
    hosts = HostStates()
    hosts.put("routed", "h1", [A], ())
    hosts.put("bridge", "h1", [B], ())
    hosts.replace("bridge", "h1", ())
    hosts.publish(1)
    assert keys(follow(hosts)[0]) == ({"bridge/a"}, set())


def test_keep_empties_hosts_that_are_left() -> None:
    hosts = HostStates()
    hosts.put("bridge", "h1", [A], ())
    hosts.put("bridge", "h2", [B], ())
    hosts.publish(1)
    updates = follow(hosts, "h2")
    hosts.keep("bridge", {"h1"})
    hosts.publish(2)
    assert keys(updates[-1]) == (set(), {"bridge/b"})
    assert keys(follow(hosts, "h1")[0]) == ({"bridge/a"}, set())


def test_what_two_backends_want_stays_until_both_let_go() -> None:
    hosts = HostStates()
    shared: list[HostObject] = [A]
    hosts.put("bridge", "h1", shared, ())
    hosts.put("routed", "h1", shared, ())
    hosts.replace("bridge", "h1", ())
    hosts.publish(1)
    updates = follow(hosts)
    assert keys(updates[0]) == ({"bridge/a"}, set())
    hosts.put("routed", "h1", (), ["bridge/a"])
    hosts.publish(2)
    assert keys(updates[-1]) == (set(), {"bridge/a"})


def test_a_follower_that_ended_is_told_nothing() -> None:
    hosts = HostStates()
    hosts.publish(1)
    updates: list[Update] = []
    end = hosts.follow("h1", updates.append)
    end()
    hosts.put("bridge", "h1", [A], ())
    hosts.publish(2)
    assert len(updates) == 1


def test_an_object_can_be_told_again_as_long_as_it_is_wanted() -> None:
    hosts = HostStates()
    hosts.put("bridge", "h1", [A], ())
    hosts.publish(1)
    updates = follow(hosts)
    hosts.restate("h1", "bridge/a")
    hosts.restate("h1", "bridge/unknown")
    hosts.publish(2)
    assert updates[1:] == [Update(revision=2, objects=(A,))]
