# SPDX-License-Identifier: Apache-2.0
"""An API that asks who is there, and the agent of another host, over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from portico.testing.authority import Authority
from portico.testing.lab import Lab, wait_until

from .conftest import PORTICO, Machine

pytestmark = pytest.mark.lab
ADDRESS = "198.51.100.1"
PASSWORD = "of-agents"


@pytest.fixture
def hosts() -> Iterator[tuple[Machine, Machine]]:
    with Lab() as lab:
        yield Machine(lab.host("h1", underlay=True)), Machine(lab.host("h2", underlay=True))


@pytest.fixture
def settings(tmp_path: Path) -> tuple[list[str], str]:
    """Options of the API's host, and the file of the other."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("h1", address=ADDRESS)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "users").write_text(f"agent:{hashed}\n")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    options = {
        "auth": "http_basic",
        "http-basic-file": f"{tmp_path}/users",
        "http-basic-admins": "agent",
        "tls-certificate": str(certificate),
        "tls-key": str(key),
        "listen": f"{ADDRESS}:9696,unix:/run/portico/api.sock",
        "docker-enabled": "false",
    }
    file = tmp_path / "h2.toml"
    file.write_text(
        f"api_url = 'https://{ADDRESS}:9696'\napi_user = 'agent'\napi_password_file = '{tmp_path}/password'\n"
        f"api_ca = '{authority.certificate}'\n"
    )
    return [word for name, value in options.items() for word in (f"--{name}", value)], str(file)


def test_the_agent_of_another_host_plugs_a_port(
    hosts: tuple[Machine, Machine], settings: tuple[list[str], str]
) -> None:
    first, second = hosts
    options, file = settings
    first.up(*options)
    first.json("network", "create", "blue")
    first.json("subnet", "create", "--network", "blue", "10.1.0.0/24")
    first.json("port", "create", "vm", "--network", "blue")
    agent = second.host.spawn([*PORTICO, "--config", file, "agent"], log="agent")
    wait_until("the agent is heard of", lambda: alive(first) == {"h1", "h2"}, 30, agent.tail)
    code, out, err = second.portico("--config", file, "port", "plug", "vm", "--tap", "tap-vm")
    assert (code, err) == (0, "") and out.startswith("tap-vm ")
    shown = first.json("port", "show", "vm")
    assert (shown["status"], shown["binding:host_id"]) == ("ACTIVE", "h2")
    # what its kernel has is seen from here, by its agent
    code, out, err = first.portico("port", "explain", "vm", "--all")
    assert (code, err) == (0, "") and ["true", "tap", "mtu", "1500", "1500"] in [
        line.split() for line in out.splitlines()
    ]
    code, out, err = first.portico("trace", "vm", "10.1.0.77", "--kernel")
    assert err == "" and "in the kernel of host h2: the kernel has it as wanted" in out, out
    assert PASSWORD not in agent.tail() + str(second.processes())


def test_a_stranger_on_another_host_gets_nowhere(
    hosts: tuple[Machine, Machine], settings: tuple[list[str], str], tmp_path: Path
) -> None:
    first, second = hosts
    options, file = settings
    first.up(*options)
    (tmp_path / "password").write_text("guessed")
    code, _, err = second.portico("--config", file, "network", "list")
    assert code == 1 and "The user name or the password is wrong." in err
    agent = second.host.spawn([*PORTICO, "--config", file, "agent"], log="agent")
    wait_until("the agent is refused", lambda: "401" in agent.tail(), 30, agent.tail)
    assert alive(first) == {"h1"}


def alive(machine: Machine) -> set[str]:
    return {agent["host"] for agent in machine.json("agent", "list") if agent["alive"]}
