# SPDX-License-Identifier: Apache-2.0
"""What each host says in BGP, from the wanted state alone."""

from __future__ import annotations

from typing import Any

import pytest

from portico.model.bgp import Neighbor, Spoken, outside, spoken
from portico.model.snapshot import Snapshot

HOSTS = ("h1", "h2", "h3", "h4")
SPEAKER = {
    "id": "s4", "local_as": 65000, "ip_version": 4, "peers": ["p1"], "networks": [], "advertise_tenant_networks": True,
    "advertise_floating_ip_host_routes": True,
    "portico:mode": "full-mesh", "portico:reflectors": [], "portico:excluded_hosts": [], "portico:bfd": True,
    "portico:graceful_restart": False, "portico:communities": ["65000:1"],
}  # fmt: skip
PEER = {"id": "p1", "peer_ip": "198.51.100.254", "remote_as": 65001, "password": "secret", "portico:bfd": False,
        "portico:hosts": ["h1", "h2"]}  # fmt: skip


def wanted(**changes: Any) -> Snapshot:
    want = Snapshot()
    for number, host in enumerate(HOSTS, 1):
        told = {"address_v4": f"198.51.100.{number}", "address_v6": "nonsense"}
        want.put("agent", {"id": f"a{number}", "host": host, "configurations": told})
    want.put("bgp_speaker", SPEAKER | {name.replace("__", ":"): value for name, value in changes.items()})
    want.put("bgp_peer", PEER)
    return want


def talks(want: Snapshot, host: str) -> dict[str, str]:
    """Return the role of each neighbor of a host, by the last octet of its address."""
    [found] = spoken(want, host)
    return {str(one.address).rpartition(".")[2]: one.role for one in found.neighbors}


def test_a_host_says_all_that_its_speaker_and_peers_ask_for() -> None:
    [found] = spoken(wanted(), "h1")
    assert isinstance(found, Spoken)
    assert (found.local_as, str(found.address), found.communities) == (65000, "198.51.100.1", ("65000:1",))
    assert not found.graceful_restart
    outside, *inside = found.neighbors
    assert outside == Neighbor(want_address("254"), 65001, "outside", peer_id="p1", password="secret", bfd=False)
    assert [(str(one.address), one.remote_as, one.role, one.bfd) for one in inside] == [
        (f"198.51.100.{number}", 65000, "mesh", True) for number in (2, 3, 4)
    ]


def want_address(last: str) -> Any:
    from ipaddress import ip_address

    return ip_address(f"198.51.100.{last}")


@pytest.mark.parametrize(
    ("changes", "host", "roles"),
    [
        ({}, "h3", {"1": "mesh", "2": "mesh", "4": "mesh"}),
        ({"portico__excluded_hosts": ["h2"]}, "h3", {"1": "mesh", "4": "mesh"}),
        (
            {"portico__mode": "route-reflector", "portico__reflectors": ["h3", "h4"]},
            "h3",
            {"1": "client", "2": "client", "4": "mesh"},
        ),
        (
            {"portico__mode": "route-reflector", "portico__reflectors": ["h3", "h4"]},
            "h1",
            {"254": "outside", "3": "reflector", "4": "reflector"},
        ),
    ],
)
def test_hosts_speak_as_the_mode_says(changes: dict[str, Any], host: str, roles: dict[str, str]) -> None:
    assert talks(wanted(**changes), host) == roles


def test_a_host_without_an_address_of_the_version_or_that_is_excluded_says_nothing() -> None:
    assert spoken(wanted(ip_version=6), "h1") == ()
    assert spoken(wanted(portico__excluded_hosts=["h1"]), "h1") == ()
    assert spoken(wanted(), "h9") == ()


def test_each_host_speaks_outside_for_one_speaker() -> None:
    want = wanted(portico__excluded_hosts=["h2"])
    want.put("bgp_speaker", SPEAKER | {"id": "s5", "portico:excluded_hosts": []})
    found = [(host, peer.id, speaker.id) for host, peer, speaker in outside(want)]
    assert found == [("h1", "p1", "s4"), ("h2", "p1", "s5")]
    said = {(host, one.speaker_id) for host in HOSTS for one in spoken(want, host)
            if any(neighbor.role == "outside" for neighbor in one.neighbors)}  # fmt: skip
    assert said == {("h1", "s4"), ("h2", "s5")}


def test_two_speakers_do_not_speak_with_the_same_address_twice() -> None:
    want = wanted()
    want.put("bgp_speaker", SPEAKER | {"id": "s5", "local_as": 65009})
    first, second = spoken(want, "h1")
    assert len(first.neighbors) == 4
    assert second.neighbors == ()
