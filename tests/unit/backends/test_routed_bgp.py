# SPDX-License-Identifier: Apache-2.0
"""What each host's BGP speaker must have, from speakers, peers, hosts and subnets alone."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.backends.bgp_world import PEER, SPEAKER, Told, put_hosts, put_network

from portico.backends.routed import RoutedBackend, bgp
from portico.contract import Dirty
from portico.hoststate import Peer, Speaker
from portico.hoststate.speaker import SPEAKER_KEY
from portico.model.snapshot import Snapshot


def wanted(*speakers: dict[str, Any], hosts: int = 3) -> Snapshot:
    want = Snapshot()
    put_hosts(want, hosts)
    for speaker in speakers:
        want.put("bgp_speaker", speaker)
    want.put("bgp_peer", PEER)
    put_network(want, "n1", "routed", "10.1.0.0/24")
    return want


def keys(want: Snapshot, host: str) -> set[str]:
    return set(bgp.host_objects(want, host))


def test_a_host_has_the_others_and_its_peers_who_are_told_of_its_networks_alone() -> None:
    found = bgp.host_objects(wanted(SPEAKER), "h1")
    assert found[SPEAKER_KEY] == Speaker(65000, "198.51.100.1", ("198.51.100.1",), prefixes=("10.1.0.0/24",))
    assert found["peer/198.51.100.2"] == Peer("198.51.100.2", 65000, local_asn=65000)
    assert found["peer/198.51.100.254"] == Peer(
        "198.51.100.254", 4200000001, "outside", local_asn=65000, password="secret", bfd=False, direct=True,
        announce=("10.1.0.0/24",), communities=("65000:1",),
    )  # fmt: skip
    assert keys(wanted(SPEAKER), "h2") == {SPEAKER_KEY, "peer/198.51.100.1", "peer/198.51.100.3"}


def test_without_a_speaker_or_without_anybody_to_talk_to_there_is_none() -> None:
    assert bgp.host_objects(wanted(), "h1") == {}
    assert bgp.host_objects(wanted(SPEAKER | {"peers": []}, hosts=1), "h1") == {}
    assert keys(wanted(SPEAKER, hosts=1), "h1") == {SPEAKER_KEY, "peer/198.51.100.254"}


def test_a_speaker_of_each_ip_version_makes_one_with_both_addresses() -> None:
    six = SPEAKER | {"id": "s6", "ip_version": 6, "local_as": 65006, "peers": []}
    found = bgp.host_objects(wanted(SPEAKER, six), "h2")
    speaker, peer = found[SPEAKER_KEY], found["peer/2001:db8::1"]
    assert isinstance(speaker, Speaker) and speaker.addresses == ("198.51.100.2", "2001:db8::2")
    assert isinstance(peer, Peer) and (peer.asn, peer.local_asn) == (65006, 65006)
    only_six = bgp.host_objects(wanted(six), "h2")[SPEAKER_KEY]
    assert isinstance(only_six, Speaker)
    assert only_six.router_id != "0.0.0.0" and only_six.router_id.count(".") == 3


def test_reflectors_have_the_others_as_clients() -> None:
    want = wanted(SPEAKER | {"portico:mode": "route-reflector", "portico:reflectors": ["h1"], "peers": []})
    roles = {host: [item.role for item in found.values() if isinstance(item, Peer)]
             for host in ("h1", "h2") if (found := bgp.host_objects(want, host))}  # fmt: skip
    assert roles == {"h1": ["client", "client"], "h2": ["reflector"]}


def test_a_host_has_its_own_blocks() -> None:
    want = wanted(SPEAKER)
    for number, host in enumerate(("h1", "h2", "h1")):
        cidr = f"10.1.0.{number * 64}/26"
        want.put("block", {"id": f"b{number}", "subnet_id": "n1-4", "host": host, "cidr": cidr})
    speaker = bgp.host_objects(want, "h1")[SPEAKER_KEY]
    assert isinstance(speaker, Speaker) and speaker.blocks == ("10.1.0.0/26", "10.1.0.128/26")
    memory = bgp.memory()
    memory.change(want, Dirty(everything=True))
    want.remove("block", "b1")
    assert set(memory.change(want, Dirty(ids={"block": frozenset({"b1"})}))) == {"h2"}


def test_a_host_is_given_what_changed_alone() -> None:
    want, memory = wanted(SPEAKER), bgp.memory()
    everything = memory.change(want, Dirty(everything=True))
    assert set(everything) == {"h1", "h2", "h3"}
    assert set(memory.hosts()) == {"h1", "h2", "h3"} and len(memory.objects("h1")) == 4
    assert memory.change(want, Dirty(ids={"port": frozenset({"x"})})) == {}
    assert memory.change(want, Dirty(ids={"agent": frozenset({"a1"})})) == {}
    want.put("bgp_peer", PEER | {"portico:hosts": ["h2"]})
    parts = memory.change(want, Dirty(ids={"bgp_peer": frozenset({"p1"})}))
    assert parts["h1"].gone == ("peer/198.51.100.254",) and parts["h1"].objects == ()
    assert [item.key for item in parts["h2"].objects if isinstance(item, Peer)] == ["peer/198.51.100.254"]
    assert set(parts) == {"h1", "h2"}


@pytest.mark.parametrize("gone", ["a3", "s4"])
def test_who_has_nobody_left_is_given_nothing(gone: str) -> None:
    want, memory = wanted(SPEAKER | {"peers": []}, hosts=3), bgp.memory()
    memory.change(want, Dirty(everything=True))
    kind = "agent" if gone == "a3" else "bgp_speaker"
    want.remove(kind, gone)
    parts = memory.change(want, Dirty(ids={kind: frozenset({gone})}))
    assert set(parts) == {"h1", "h2", "h3"}
    assert set(parts["h3"].gone) == {SPEAKER_KEY, "peer/198.51.100.1", "peer/198.51.100.2"}
    assert ("h3" in memory.hosts()) is False and (gone == "a3") == bool(memory.hosts())


def test_the_backend_tells_hosts_with_and_without_ports_and_a_part_gives_what_the_whole_would() -> None:
    told = Told(want := wanted(hosts=2), RoutedBackend)
    assert told.of == {}
    want.put("bgp_speaker", SPEAKER)
    told.sync("bgp_speaker", "s4")
    assert set(told.of) == {"h1", "h2"} and SPEAKER_KEY in told.of["h2"]
    want.put("bgp_peer", PEER | {"peer_ip": "198.51.100.253"})
    told.sync("bgp_peer", "p1")
    whole = Told(want, RoutedBackend)
    assert told.of == whole.of and "peer/198.51.100.253" in whole.of["h1"]
    told.sync()
    assert told.of == whole.of
    want.remove("bgp_speaker", "s4")
    told.sync()
    assert told.of == {}
