# SPDX-License-Identifier: Apache-2.0
"""`portico doctor`: finds what is there and what is not, and leaves nothing behind."""

from __future__ import annotations

import json
import socket

import pytest

from .conftest import PORTICO, Machine

pytestmark = pytest.mark.lab


def findings(machine: Machine, *before: str) -> tuple[int, dict[str, str]]:
    done = machine.host.run([*before, *PORTICO, "doctor", "-f", "json"], check=False, timeout_s=60)
    return done.code, {f"{found['check']} {found['detail']}": found["state"] for found in json.loads(done.out)}


def test_a_machine_that_passes_the_tests_lacks_nothing_and_is_left_as_it_was(machine: Machine) -> None:
    before = machine.host.run(["ip", "-br", "link"]).out
    code, found = findings(machine)
    assert code == 0, found
    assert "missing" not in found.values()
    kinds = {"bridge ", "veth ", "br_netfilter ", "tap ", "cls_bpf and act_mirred ", "ifb and sch_tbf ", "sch_htb "}
    kinds |= {"address translation ", "conntrack helpers ftp, irc, sip, tftp", "fast path "}
    assert kinds <= {name for name, state in found.items() if state == "ok"}
    assert machine.host.run(["ip", "-br", "link"]).out == before
    assert machine.host.run(["ip", "netns"]).out == ""


def test_a_running_portico_is_not_in_its_own_way(machine: Machine) -> None:
    machine.up("--docker-enabled", "false")
    code, found = findings(machine)
    assert code == 0
    assert found["listen 127.0.0.1:9696: Portico answers there already"] == "ok"


def test_a_strangers_port_is_in_the_way(machine: Machine) -> None:
    with machine.host.call(lambda: socket.create_server(("127.0.0.1", 9696))):
        code, found = findings(machine)
    assert (code, found["listen 127.0.0.1:9696: Address already in use"]) == (1, "missing")


def test_who_is_not_root_is_told_what_could_not_be_tried(machine: Machine) -> None:
    code, found = findings(machine, "unshare", "--user")
    assert code == 1
    assert found["root user 65534"] == "missing"
    assert found["network namespaces Operation not permitted"] == "missing"
    [fast_path] = [name for name in found if name.startswith("fast path ")]
    assert found[fast_path] == "absent" and fast_path.endswith("; every packet takes the long way")


def test_a_missing_program_comes_with_the_package_that_has_it(machine: Machine) -> None:
    for program in ("dnsmasq", "bird"):
        machine.host.run(["mount", "--bind", "/dev/null", f"/usr/sbin/{program}"])
    done = machine.host.run(["env", "PATH=/nonexistent", *PORTICO, "doctor"], check=False, timeout_s=60)
    assert done.code == 1
    assert "apt-get install dnsmasq-base" in done.out and "apt-get install bird2" in done.out
    assert "missing: 1\n" in done.out
