# SPDX-License-Identifier: Apache-2.0
"""`portico port plug` and `unplug`: only what is nobody else's, and only their own part of it."""

from __future__ import annotations

import json
import threading

import pytest

from portico.client import Client

from .conftest import Portico

DOCKER = {"docker": {"host": "h1", "network": "n"}, "plug": "veth"}


@pytest.mark.parametrize(
    ("port", "whose"),
    [
        (["--device-owner", "docker:endpoint", "--device-id", "e1"], "docker:endpoint e1"),
        (["--device-owner", "compute:nova"], "compute:nova"),
        (["--binding-profile", json.dumps(DOCKER)], "docker"),
    ],
)
def test_a_port_that_another_program_has_is_plugged_by_force_only_and_stays_that_programs(
    portico: Portico, network: str, port: list[str], whose: str
) -> None:
    made = portico("port", "create", "--network", network, *port, "-f", "json").json
    for word in ("plug", "unplug"):
        done = portico("port", word, made["id"])
        assert (done.code, done.out) == (1, "")
        assert f"port {made['id']}: belongs to {whose}, which plugs and unplugs it itself; --force" in done.err
    assert portico("port", "show", made["id"], "-f", "json").json == made
    assert portico("port", "plug", made["id"], "--force", "--wait", "0").code == 0
    assert portico("port", "unplug", made["id"], "--force").code == 0
    after = portico("port", "show", made["id"], "-f", "json").json
    assert after["binding:profile"].get("docker") == made["binding:profile"].get("docker")
    assert (after["device_owner"], after["binding:host_id"]) == (made["device_owner"], "")


def test_unplugging_leaves_nothing_of_plugging_in_the_profile(portico: Portico, network: str) -> None:
    made = portico("port", "create", "--network", network, "--binding-profile", '{"note": "kept"}', "-f", "json").json
    assert portico("port", "plug", made["id"], "--tap", "tap-x", "--wait", "0").code == 0
    plugged = portico("port", "show", made["id"], "-f", "json").json
    assert plugged["binding:profile"] == {"note": "kept", "plug": "tap", "make_tap": True, "tap_name": "tap-x"}
    assert portico("port", "unplug", made["id"]).code == 0
    assert portico("port", "show", made["id"], "-f", "json").json["binding:profile"] == {"note": "kept"}


@pytest.mark.parametrize("make", [[], ["--no-make"]])
def test_whether_or_not_the_tap_is_to_be_made_plugging_waits_and_says_why(
    portico: Portico, network: str, api_url: str, make: list[str]
) -> None:
    made = portico("port", "create", "--network", network, "-f", "json").json
    plug = ("port", "plug", made["id"], "--host", "h1", *make)
    done = portico(*plug, "--wait", "1")
    assert (done.code, len(done.out.splitlines())) == (1, 1)
    assert f"port {made['id']}: is DOWN, not ACTIVE, after 1 s: the agent has not reported yet" in done.err

    def report(state: str, reason: str) -> None:
        status = {"key": f"vif/{made['id']}", "state": state, "reason": reason}
        with Client(api_url) as client:
            client.put_json("/portico/v1/hosts/h1/status", {"revision": 1, "statuses": [status]})

    soon = [threading.Timer(0.5, report, ("waiting", "no tap yet")), threading.Timer(4, report, ("active", ""))]
    for timer in soon:
        timer.start()
    done = portico(*plug, "--wait", "20")
    assert (done.code, done.err.splitlines()[-1]) == (0, f"waiting: port {made['id']} is DOWN: no tap yet")
    for timer in soon:
        timer.join()
