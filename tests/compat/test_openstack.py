# SPDX-License-Identifier: Apache-2.0
"""OpenStack's own client and SDK, unmodified, with no OpenStack at all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
from openstack.exceptions import BadRequestException, ConflictException, NotFoundException

from portico.client import Client
from portico.errors import Unavailable

# What the SDK says of its own future.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as trial:
        return int(trial.getsockname()[1])


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("api")
    address = f"127.0.0.1:{free_port()}"
    options = ["--state-dir", str(directory), "--run-dir", str(directory), "--listen", address]
    command = [str(BIN / "portico"), "--config", os.devnull, "api", *options]
    with (directory / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        deadline = time.monotonic() + 20
        with Client(f"http://{address}") as client:
            while True:
                try:
                    client.get_json("/healthz")
                    break
                except Unavailable:
                    assert process.poll() is None, (directory / "log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
        yield f"http://{address}"
        process.terminate()


def cli(endpoint: str, *words: str) -> Any:
    argv = [str(BIN / "openstack"), "--os-auth-type", "none", "--os-endpoint", endpoint, *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.startswith(("[", "{")) else done.stdout


def test_the_command_line_makes_shows_and_deletes(endpoint: str) -> None:
    def run(*words: str) -> Any:
        return cli(endpoint, *words)

    network = run("network", "create", "blue", "--mtu", "1400", "--tag", "demo", "-f", "json")
    assert (network["name"], network["mtu"], network["status"]) == ("blue", 1400, "ACTIVE")
    subnet = run("subnet", "create", "blue4", "--network", "blue", "--subnet-range", "10.1.0.0/24", "-f", "json")
    assert subnet["gateway_ip"] == "10.1.0.1"
    run("security", "group", "create", "web")
    run(
        "security",
        "group",
        "rule",
        "create",
        "web",
        "--protocol",
        "tcp",
        "--dst-port",
        "80:81",
        "--remote-ip",
        "192.0.2.0/24",
    )
    words = ("--fixed-ip", "subnet=blue4,ip-address=10.1.0.9", "--security-group", "web", "-f", "json")
    port = run("port", "create", "p", "--network", "blue", *words)
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.1.0.9"}]
    assert [p["Name"] for p in run("port", "list", "--network", "blue", "-f", "json")] == ["p"]
    assert run("network", "list", "--tags", "demo", "-f", "value", "-c", "Name") == "blue\n"
    run("port", "set", "p", "--name", "q", "--disable-port-security", "--no-security-group")
    assert run("port", "show", "q", "-f", "json")["port_security_enabled"] is False
    run("port", "delete", "q")
    run("network", "delete", "blue")
    assert run("network", "list", "-f", "json") == []


@pytest.fixture
def sdk(endpoint: str) -> Iterator[Any]:
    connection = openstack.connect(auth_type="none", endpoint=endpoint)
    yield connection.network
    connection.close()


def test_the_sdk_walks_pages_and_finds_by_name(sdk: Any) -> None:
    network = sdk.create_network(name="many")
    sdk.create_subnet(network_id=network.id, cidr="10.2.0.0/24", ip_version=4)
    made = {sdk.create_port(network_id=network.id, name=f"p{number}").id for number in range(7)}
    assert {port.id for port in sdk.ports(network_id=network.id, limit=3)} == made
    assert sdk.find_port("p3").id in made
    for port_id in made:
        sdk.delete_port(port_id)
    sdk.delete_network(network)
    assert sdk.find_network("many") is None


def test_the_sdk_understands_what_is_refused(sdk: Any) -> None:
    network = sdk.create_network(name="full")
    sdk.create_subnet(network_id=network.id, cidr="10.3.0.0/29", ip_version=4)
    port = sdk.create_port(network_id=network.id)
    with pytest.raises(ConflictException, match=port.id):
        sdk.delete_network(network)
    with pytest.raises(BadRequestException, match=r"10\.3\.0\.0/29"):
        sdk.create_subnet(network_id=network.id, cidr="10.3.0.0/29", ip_version=4)
    with pytest.raises(NotFoundException):
        sdk.get_port("00000000-0000-0000-0000-000000000000")
    sdk.delete_port(port)
    sdk.delete_network(network)


def test_the_sdk_sees_quotas_agents_zones_and_extensions(sdk: Any) -> None:
    assert sdk.get_quota("default").ports == -1
    assert list(sdk.agents()) == []
    assert [zone.name for zone in sdk.availability_zones()] == ["default"]
    assert {"security-group", "port-security", "binding"} <= {extension.alias for extension in sdk.extensions()}


def test_the_sdk_binds_a_port_and_reads_how_it_is_reached(sdk: Any) -> None:
    network = sdk.create_network(name="bound")
    port = sdk.create_port(
        network_id=network.id, binding_host_id="h1", binding_profile={"plug": "tap", "tap_name": "tap-x"}
    )
    assert (port.binding_vif_type, port.binding_vif_details["tap_name"]) == ("tap", "tap-x")
    sdk.delete_port(port)
    sdk.delete_network(network)


def test_the_sdk_moves_a_port_from_host_to_host(sdk: Any) -> None:
    network = sdk.create_network(name="moving")
    port = sdk.create_port(network_id=network.id, device_owner="compute:nova", binding_host_id="h1")
    assert port.data_plane_status is None and port.propagate_uplink_status is True
    made = sdk.create_port_binding(port, host="h2", profile={"migrating_to": "h2"})
    assert (made.status, made.vif_type, made.vif_details["tap_name"]) == ("INACTIVE", "tap", f"tap{port.id[:11]}")
    assert [item.host for item in sdk.port_bindings(port, status="ACTIVE")] == ["h1"]
    assert sdk.activate_port_binding(port, "h2").status == "ACTIVE"
    assert sdk.get_port(port).binding_host_id == "h2"
    sdk.delete_port_binding(port, "h1", ignore_missing=False)
    assert [(item.host, item.status) for item in sdk.port_bindings(port)] == [("h2", "ACTIVE")]
    with pytest.raises(NotFoundException):
        sdk.delete_port_binding(port, "h1", ignore_missing=False)
    sdk.delete_port(port)
    sdk.delete_network(network)


def test_the_sdk_names_a_networks_segment(sdk: Any) -> None:
    network = sdk.create_network(name="racks")
    (segment,) = sdk.segments(network_id=network.id)
    assert (segment.name, segment.network_type, segment.physical_network) == (None, "local", None)
    assert sdk.update_segment(segment, name="rack 1").name == "rack 1"
    assert sdk.find_segment("rack 1").id == segment.id
    with pytest.raises(ConflictException, match="cannot be deleted"):
        sdk.delete_segment(segment)
    sdk.delete_network(network)
    assert sdk.find_segment("rack 1") is None
