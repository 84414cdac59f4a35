# SPDX-License-Identifier: Apache-2.0
"""Plugin, API, agent and engine end in every way; containers live on where they can, and nothing is left over."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from portico.testing.docker_site import DockerSite
from portico.testing.lab import IMAGE, Lab, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.long]


def test_a_killed_plugin_finds_everything_again(site: DockerSite) -> None:
    site.create("blue", "--subnet", "10.1.0.0/24")
    site.run("web", "blue", "--ip", "10.1.0.5")
    site.kill("docker")
    assert site.execute("web", "true").ok
    site.start("docker")
    site.run("cli", "blue")
    assert site.reaches("cli", "10.1.0.5")
    site.docker("rm", "-f", "web")
    assert [port["device_owner"] for port in site.api.list("ports")].count("docker:endpoint") == 1


def test_a_plugin_that_comes_back_serves_the_call_that_waits_for_it(site: DockerSite) -> None:
    site.create("blue", "--subnet", "10.1.0.0/24")
    site.kill("docker")
    run = site.host.popen(["docker", "run", "--rm", "--network", "blue", IMAGE, "true"])
    time.sleep(0.5)
    site.start("docker")
    assert run.wait(20) == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hanging"])
@pytest.mark.parametrize("since_s", [0, 0.5, 1.1], ids=["at once", "soon", "later"])
def test_without_the_api_a_clear_error_comes_within_two_seconds(
    site: DockerSite, how: signal.Signals, since_s: float
) -> None:
    site.create("blue", "--subnet", "10.1.0.0/24")
    site.run("web", "blue")
    time.sleep(since_s)  # for a second after it answered, the API is not asked first whether it lives
    site.processes["api"].send_signal(how)
    run = site.docker("run", "--rm", "--network", "blue", IMAGE, "true", check=False)
    assert "the API at unix:/run/portico/api.sock" in run.err and run.code == 125
    # Asking for an address and giving up each take 1.8 s at most (tests/unit/docker/test_deadline.py), the rest is the
    # engine's own. A call whose connection broke would be tried for 15 s.
    assert run.seconds < 10
    assert (
        "the API at"
        in site.docker("network", "create", "-d", "portico", "--ipam-driver", "portico", "red", check=False).err
    )
    site.docker("rm", "-f", "web")
    if how is signal.SIGSTOP:
        site.processes["api"].send_signal(signal.SIGCONT)
    else:
        site.start("api")
    site.docker("run", "--rm", "--network", "blue", IMAGE, "true")
    site.docker("network", "rm", "blue")
    site.sweep()


@pytest.mark.parametrize(
    "victims", [("docker",), ("engine",), ("docker", "engine"), ("api",), ("docker", "engine", "api")]
)
def test_killed_in_the_middle_of_starts_nothing_is_left(site: DockerSite, victims: tuple[str, ...]) -> None:
    site.create("blue", "--subnet", "10.1.0.0/24", "--ipv6", "--subnet", "2001:db8:1::/64")
    runs = f"for i in 1 2 3; do docker run --rm --network blue {IMAGE} true & done"
    create = "docker network create -d portico --ipam-driver portico red"
    work = site.host.popen(["sh", "-c", f"{runs}; {create}; wait"])
    time.sleep(0.3)
    for victim in victims:
        site.engine.kill() if victim == "engine" else site.kill(victim)
    for victim in ("api", "docker", "engine"):
        if victim in victims:
            site.engine.start() if victim == "engine" else site.start(victim)
    work.wait(60)
    wait_until("the end of all containers", lambda: not site.docker("ps", "-q").out, 20)
    site.clear()
    site.sweep()


@pytest.fixture(params=[False, True], ids=["plain", "live-restore"])
def restartable(request: pytest.FixtureRequest) -> Iterator[DockerSite]:
    with Lab() as lab, DockerSite(lab.host("two"), live_restore=request.param, exec_root="/run/elsewhere") as site:
        site.create("blue", "--subnet", "10.1.0.0/24")
        site.run("web", "blue", "--ip", "10.1.0.5", "--restart", "always")
        site.run("cli", "blue", "--restart", "always")
        yield site


@pytest.mark.parametrize("restartable", [False, True], ids=["plain", "live-restore"], indirect=True)
def test_engine_restarts_by_term_and_kill_keep_the_network_under_any_exec_root(
    restartable: DockerSite, request: pytest.FixtureRequest
) -> None:
    site = restartable
    live = "live-restore" in request.node.name
    for how in (signal.SIGTERM, signal.SIGKILL):
        before = site.network_settings("web", "blue")["EndpointID"]
        site.engine.restart(how)
        wait_until("both containers", lambda: len(site.docker("ps", "-q").out.split()) == 2, 20)
        wait_until("the way between them", lambda: site.reaches("cli", "10.1.0.5"), 20)
        assert (site.network_settings("web", "blue")["EndpointID"] == before) is live
    site.kill("docker", "agent", "api")
    if live:
        assert site.reaches("cli", "10.1.0.5")
    site.start()
    assert site.reaches("cli", "10.1.0.5")
    site.docker("rm", "-f", "web", "cli")
    site.docker("network", "rm", "blue")
    site.sweep()


def test_after_a_machine_restart_containers_are_where_they_were() -> None:
    with Lab() as lab, DockerSite(lab.host("three")) as site:
        site.create("blue", "--subnet", "10.1.0.0/24")
        site.run("web", "blue", "--ip", "10.1.0.5", "--restart", "always")
        site.run("cli", "blue", "--restart", "always")
        mac = site.port_of("web", "blue")["mac_address"]
        site.lose_power()
        site.start()
        site.engine.start()
        wait_until("both containers", lambda: len(site.docker("ps", "-q").out.split()) == 2, 20)
        wait_until("the way between them", lambda: site.reaches("cli", "10.1.0.5"), 20)
        assert site.port_of("web", "blue")["mac_address"] == mac
        site.clear()
        site.sweep()
