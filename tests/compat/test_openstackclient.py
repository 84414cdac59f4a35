# SPDX-License-Identifier: Apache-2.0
"""python-openstackclient and openstacksdk, unmodified, against a real API on a loopback port."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portico.client import Client
from portico.errors import Unavailable

START_TIMEOUT_S = 20
COMMAND_TIMEOUT_S = 60

Openstack = Callable[..., Any]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("api")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = ["--state-dir", str(folder), "--run-dir", str(folder), "--listen", f"127.0.0.1:{port}"]
    command = [sys.executable, "-m", "portico.cli", "--config", os.devnull, "api", *options]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(url):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield url
        process.terminate()


def answers(url: str) -> bool:
    with Client(url) as client, contextlib.suppress(Unavailable):
        client.get_json("/healthz")
        return True
    return False


# Runs the client's own main function for each line of words: starting Python for each takes two seconds.
COMMANDS = """
import contextlib, io, json, sys
from openstackclient.shell import main

for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(json.loads(line))
        except SystemExit as leaving:
            code = leaving.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture(scope="module")
def openstack(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Openstack]:
    """Run a command as a user types it; returns its JSON where it gives some."""
    home = tmp_path_factory.mktemp("home")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    with (home / "log").open("w") as log, subprocess.Popen(
        [sys.executable, "-c", COMMANDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        env=environment, cwd=home,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout
        stdin, stdout = process.stdin, process.stdout

        def run(*words: str, output: bool = True) -> Any:
            command = ["--os-auth-type", "none", "--os-endpoint", endpoint, *words]
            stdin.write(json.dumps([*command, "-f", "json"] if output else command) + "\n")
            stdin.flush()
            answer = stdout.readline()
            assert answer, (home / "log").read_text()
            code, out, err = json.loads(answer)
            assert code == 0, err
            return json.loads(out) if output else out

        yield run
        stdin.close()


def test_a_network_with_subnets_and_ports(openstack: Openstack) -> None:
    made = openstack("network", "create", "blue", "--mtu", "1400", "--description", "sea", "--tag", "t")
    assert (made["name"], made["mtu"], made["status"], made["provider:network_type"]) == (
        "blue",
        1400,
        "ACTIVE",
        "local",
    )
    openstack("network", "set", "blue", "--disable", "--share", output=False)
    shown = openstack("network", "show", "blue")
    assert (shown["admin_state_up"], shown["shared"], shown["tags"]) == (False, True, ["t"])
    assert [row["Name"] for row in openstack("network", "list", "--tags", "t")] == ["blue"]
    subnet = openstack(
        "subnet", "create", "blue4", "--network", "blue", "--subnet-range", "192.0.2.0/24", "--gateway", "192.0.2.254",
        "--allocation-pool", "start=192.0.2.10,end=192.0.2.20", "--dns-nameserver", "192.0.2.53",
        "--host-route", "destination=198.51.100.0/24,gateway=192.0.2.9",
    )  # fmt: skip
    assert subnet["gateway_ip"] == "192.0.2.254"
    openstack("subnet", "create", "blue6", "--network", "blue", "--ip-version", "6", "--subnet-range", "2001:db8::/64",
              "--ipv6-ra-mode", "slaac", "--ipv6-address-mode", "slaac")  # fmt: skip
    openstack("subnet", "set", "blue4", "--no-dhcp", "--name", "four", output=False)
    assert {row["Name"] for row in openstack("subnet", "list", "--network", "blue")} == {"four", "blue6"}
    port = openstack("port", "create", "web", "--network", "blue", "--fixed-ip", "subnet=four,ip-address=192.0.2.15",
                     "--mac-address", "fa:16:3e:01:02:03", "--host", "h1")  # fmt: skip
    assert [item["ip_address"] for item in port["fixed_ips"]] == ["192.0.2.15", "2001:db8::f816:3eff:fe01:203"]
    assert port["binding_vif_type"] == "tap"
    openstack("port", "set", "web", "--allowed-address", "ip-address=192.0.2.99", "--disable", output=False)
    (pair,) = openstack("port", "show", "web")["allowed_address_pairs"]
    assert pair == {"ip_address": "192.0.2.99", "mac_address": "fa:16:3e:01:02:03"}
    (listed,) = openstack("port", "list", "--fixed-ip", "ip-address=192.0.2.15")
    assert listed["Name"] == "web"
    with pytest.raises(AssertionError, match=port["id"]):
        openstack("network", "delete", "blue", output=False)
    openstack("port", "create", "bare", "--network", "blue", "--no-fixed-ip", "--no-security-group")
    openstack("port", "delete", "web", "bare", output=False)
    openstack("subnet", "delete", "four", "blue6", output=False)
    openstack("network", "delete", "blue", output=False)
    assert openstack("network", "list", "--name", "blue") == []


def test_security_groups_and_rules(openstack: Openstack) -> None:
    made = openstack("security", "group", "create", "web", "--description", "x", "--stateless")
    assert made["stateful"] is False and len(made["rules"]) == 2
    rule = openstack("security", "group", "rule", "create", "web", "--protocol", "tcp", "--dst-port", "80:90",
                     "--remote-ip", "192.0.2.0/24")  # fmt: skip
    assert (rule["port_range_min"], rule["port_range_max"], rule["direction"]) == (80, 90, "ingress")
    openstack("security", "group", "rule", "create", "web", "--protocol", "icmp", "--icmp-type", "8", "--remote-group",
              "web", "--egress")  # fmt: skip
    assert len(openstack("security", "group", "rule", "list", "web")) == 4
    openstack("security", "group", "set", "web", "--name", "shop", output=False)
    assert openstack("security", "group", "show", "shop")["id"] == made["id"]
    assert {"default", "shop"} <= {row["Name"] for row in openstack("security", "group", "list")}
    openstack("security", "group", "rule", "delete", rule["id"], output=False)
    openstack("security", "group", "delete", "shop", output=False)


def test_pools_tags_quotas_and_what_the_server_offers(openstack: Openstack) -> None:
    pool = openstack("subnet", "pool", "create", "p", "--pool-prefix", "10.0.0.0/16", "--default-prefix-length", "24")
    assert pool["prefixes"] == ["10.0.0.0/16"]
    openstack("network", "create", "red")
    made = openstack("subnet", "create", "s", "--network", "red", "--subnet-pool", "p")
    assert made["cidr"] == "10.0.0.0/24"
    (counted,) = openstack("ip", "availability", "list")
    assert (counted["Network Name"], counted["Total IPs"], counted["Used IPs"]) == ("red", 253, 0)
    assert openstack("ip", "availability", "show", "red")["total_ips"] == 253
    openstack("network", "set", "red", "--tag", "a", "--tag", "b", output=False)
    openstack("network", "unset", "red", "--tag", "a", output=False)
    assert openstack("network", "show", "red")["tags"] == ["b"]
    aliases = {row["Alias"] for row in openstack("extension", "list", "--network")}
    assert {"security-group", "binding", "quotas", "standard-attr-tag"} <= aliases
    assert openstack("extension", "show", "binding")["alias"] == "binding"
    assert openstack("network", "agent", "list") == []
    zones = openstack("availability", "zone", "list", "--network")
    assert [row["Zone Name"] for row in zones] == ["default"]
    openstack("subnet", "delete", "s", output=False)
    openstack("subnet", "pool", "delete", "p", output=False)
    openstack("network", "delete", "red", output=False)


SDK = """
import json, sys
import openstack

cloud = openstack.connect(auth_type="none", endpoint=sys.argv[1], region_name="", load_yaml_config=False)
network = cloud.network
made = network.create_network(name="sdk")
network.create_subnet(network_id=made.id, ip_version=4, cidr="192.0.2.0/24")
ports = network.create_ports([{"network_id": made.id, "name": str(number)} for number in range(12)])
paged = [port.name for port in network.ports(network_id=made.id, limit=5)]
found = network.find_port("7")
network.update_port(found, name="seven")
network.set_tags(found, ["x"])
quota = network.update_quota("p1", networks=7)
details = network.get_quota("p1", details=True)
print(json.dumps({
    "paged": paged,
    "tagged": [port.name for port in network.ports(tags="x")],
    "quota": quota.networks,
    "limit": details.networks["limit"],
    "agents": [agent.id for agent in network.agents()],
    "zones": [zone.name for zone in network.availability_zones()],
}))
for port in network.ports(network_id=made.id):
    network.delete_port(port, ignore_missing=False)
network.delete_quota("p1")
network.delete_network(made, ignore_missing=False)
"""


def test_the_sdk_pages_tags_and_sets_quotas(endpoint: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SDK, endpoint], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert sorted(found["paged"], key=int) == [str(number) for number in range(12)]
    assert found["tagged"] == ["seven"] and (found["quota"], found["limit"]) == (7, 7)
    assert (found["agents"], found["zones"]) == ([], ["default"])
