# SPDX-License-Identifier: Apache-2.0
"""A Docker Engine in a lab is a real one."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from portico.testing.lab import IMAGE, IMAGE_WITH_IPERF, DockerEngine, Lab, LabHost, NotReady, cgroups

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def host() -> Iterator[LabHost]:
    with Lab() as lab:
        yield lab.host("one")


@pytest.fixture(scope="module")
def engine(host: LabHost) -> Iterator[DockerEngine]:
    with DockerEngine(host) as engine:
        engine.load()
        yield engine


def test_a_container_on_dockers_default_bridge_runs_true(engine: DockerEngine) -> None:
    assert engine.docker("run", "--rm", IMAGE, "true").ok
    assert engine.docker("run", "--rm", IMAGE, "false", check=False).code == 1


def test_containers_of_the_default_bridge_reach_each_other(engine: DockerEngine) -> None:
    engine.docker("run", "--detach", "--name", "server", IMAGE, "httpd", "-f", "-p", "80")
    address = engine.docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "server").out.strip()
    assert "404" in engine.docker("run", "--rm", IMAGE, "wget", "-O-", f"http://{address}/", check=False).err
    engine.docker("run", "--rm", IMAGE, "ping", "-c1", "-W2", address)
    engine.docker("rm", "--force", "server")


def test_an_image_can_have_further_programs_of_this_machine(engine: DockerEngine) -> None:
    engine.load(IMAGE_WITH_IPERF, ["iperf3"])
    assert "iperf 3" in engine.docker("run", "--rm", IMAGE_WITH_IPERF, "iperf3", "--version").out


def test_the_engine_keeps_its_control_groups_below_the_labs(engine: DockerEngine) -> None:
    engine.docker("run", "--detach", "--name", "sleeper", IMAGE, "sleep", "1000")
    number = engine.docker("inspect", "--format", "{{.Id}}", "sleeper").out.strip()
    assert any((path / number).exists() for path in cgroups.of_lab(engine.host.lab))
    engine.docker("rm", "--force", "sleeper")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_with_live_restore_a_container_survives_its_engine(how: signal.Signals) -> None:
    with Lab() as lab, DockerEngine(lab.host("one"), live_restore=True, exec_root="/run/elsewhere") as engine:
        engine.load()
        engine.docker("run", "--detach", "--name", "sleeper", IMAGE, "sleep", "1000")
        before = engine.docker("inspect", "--format", "{{.State.Pid}}", "sleeper").out
        engine.restart(how)
        assert (
            engine.docker("inspect", "--format", "{{.State.Running}} {{.State.Pid}}", "sleeper").out == f"true {before}"
        )
    assert cgroups.of_lab(lab.name) == []


def test_an_engine_that_does_not_start_says_why() -> None:
    with Lab() as lab:
        engine = DockerEngine(lab.host("one"), options=["--no-such-option"])
        with pytest.raises(NotReady, match="unknown flag: --no-such-option"):
            engine.start()
