# SPDX-License-Identifier: Apache-2.0
"""What a lab promises to the tests that are built on it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portico.testing.lab import CommandFailed, Lab, LabHost, NotReady, cgroups, running, wait_until

pytestmark = pytest.mark.lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture
def host(lab: Lab) -> LabHost:
    return lab.host("one")


def test_a_host_has_its_own_links_name_processes_and_run_directory(host: LabHost) -> None:
    assert [line.split()[0] for line in host.run(["ip", "-br", "link"]).out.splitlines()] == ["lo"]
    assert host.run(["hostname"]).out == "one\n"
    assert host.run(["ls", "/sys/class/net"]).out == "lo\n"
    assert len(host.run(["ps", "ax", "--no-headers"]).out.splitlines()) == 2
    assert sorted(host.run(["ls", "/run"]).out.split()) == ["docker", "lab", "lock", "netns", "portico"]
    assert host.run(["ls", "/run/docker", "/var/lib/portico"]).out.split() == [
        "/run/docker:",
        "plugins",
        "/var/lib/portico:",
    ]


def test_what_a_host_writes_to_etc_and_var_lib_stays_with_it(host: LabHost) -> None:
    for name in ("/etc/portico-lab-test", "/var/lib/portico-lab-test"):
        host.run(["touch", name])
        assert host.path(name).exists()
        assert not Path(name).exists()


def test_a_command_that_fails_raises_with_what_it_wrote(host: LabHost) -> None:
    with pytest.raises(CommandFailed, match=r"one: ls /nothing: exit code 2\n.*No such file"):
        host.run(["ls", "/nothing"])
    assert host.run(["ls", "/nothing"], check=False).code == 2


def test_a_command_that_takes_too_long_is_killed_with_its_children(host: LabHost) -> None:
    with pytest.raises(CommandFailed, match=r"not ended after 0\.3 s"):
        host.run(["sh", "-c", "sleep 60 & echo started; wait"], timeout_s=0.3)
    assert host.run(["pgrep", "sleep"], check=False).out == ""


def test_a_command_reads_what_it_is_given_and_else_nothing(host: LabHost) -> None:
    assert host.run(["cat"], stdin="words").out == "words"
    assert host.run(["cat"]).out == ""
    assert host.run(["sh", "-c", "echo $GREETING"], env={"GREETING": "hello"}).out == "hello\n"


def test_a_spawned_process_can_be_watched_stopped_and_killed(host: LabHost) -> None:
    process = host.spawn(
        ["sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done"], log="loop"
    )
    process.wait_for_text("ready", timeout_s=20)
    assert process.alive
    assert process.stop() == 3
    assert process.output == "ready\nbye\n"


def test_half_a_line_of_a_running_process_is_not_read_as_a_whole_one(host: LabHost) -> None:
    code = (
        "import signal; signal.signal(signal.SIGUSR1, lambda *_: print('15', flush=True));"
        "print('whole\\n203.0.113.2', end='', flush=True); [signal.pause() for _ in range(2)]"
    )
    process = host.spawn([sys.executable, "-c", code])
    wait_until("half a line", lambda: process.log.read_text().endswith(".2"), 20)
    assert process.output == "whole\n" and process.tail() == "whole\n203.0.113.2"
    with pytest.raises(NotReady):
        process.wait_for_text("203.0.113.2", timeout_s=0.01)
    process.send_signal(signal.SIGUSR1)
    process.wait_for_text("203.0.113.2", timeout_s=20)
    assert process.output == "whole\n203.0.113.215\n"


def test_waiting_for_a_process_that_has_ended_says_what_it_wrote(host: LabHost) -> None:
    process = host.spawn(["sh", "-c", "echo cannot; exit 4"], log="broken")
    with pytest.raises(NotReady, match=r"ended with exit code 4\ncannot"):
        process.wait_for_text("ready", timeout_s=20)


def test_work_in_this_process_can_use_the_hosts_network(host: LabHost) -> None:
    outside = {name for _, name in socket.if_nameindex()}
    host.run(["ip", "link", "add", "only-here", "type", "veth", "peer", "name", "peer"])
    inside = {name for _, name in host.call(socket.if_nameindex)}
    assert inside == {"lo", "only-here", "peer"}
    assert {name for _, name in socket.if_nameindex()} == outside


def test_hosts_with_an_underlay_reach_each_other_and_others_do_not(lab: Lab, host: LabHost) -> None:
    lab.host("two", underlay=True)
    three = lab.host("three", underlay=True)
    three.run(["ping", "-c1", "-W2", "198.51.100.1"])
    three.run(["ping", "-c1", "-W2", "-s", "8900", "-M", "do", "2001:db8:1ab::1"])
    assert not host.run(["ping", "-c1", "-W1", "198.51.100.1"], check=False).ok


def test_a_host_whose_holder_is_gone_takes_no_command(lab: Lab, host: LabHost) -> None:
    process = host.spawn(["sleep", "60"])
    os.kill(host.pid, signal.SIGKILL)
    assert process.wait(5) == -signal.SIGKILL
    with pytest.raises(OSError, match=r"Cannot allocate memory|No such process"):
        host.run(["true"])


CHILD = """
import sys, time
from portico.testing.lab import Lab
lab = Lab()
one, two = lab.host("one", underlay=True), lab.host("two", underlay=True)
one.run(["ip", "netns", "add", "inner"])
one.run(["ip", "link", "add", "only-here", "type", "bridge"])
one.run(["mount", "-t", "tmpfs", "none", "/mnt"])
one.run(["mkdir", "-p", f"{sys.argv[1]}/{lab.name}/container"])
one.spawn(["sh", "-c", "setsid sleep 86421 & sleep 86421"])
print(lab.name, flush=True)
if len(sys.argv) > 2:
    lab.keep()
else:
    time.sleep(1000)
"""


def cgroup_root() -> Path:
    """Return a directory of the control group file system where a lab may make one (v2, or any hierarchy of v1)."""
    root = Path("/sys/fs/cgroup")
    return root if (root / "cgroup.procs").exists() else root / "pids"


def machine(temporary: Path) -> dict[str, set[str]]:
    """Return what a lab whose folder for temporary files is this one could leave behind on this machine."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return {
        "links": {line.split(":")[1] for line in links.splitlines()},
        "namespaces": {path.name for path in Path("/run").glob("netns/*")},
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
        "temporary": {path.name for path in temporary.iterdir()},
    }


def holders_and_sleepers(lab: str) -> list[str]:
    """Return the command lines of what still runs of a lab."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace").replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if lab in line or "sleep 86421" in line:
            found.append(line)
    return found


def test_a_lab_whose_maker_is_killed_leaves_nothing(tmp_path: Path) -> None:
    before = machine(tmp_path)
    argv = [sys.executable, "-c", CHILD, str(cgroup_root())]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env) as maker:
        assert maker.stdout
        name = maker.stdout.readline().strip()
        assert set(running.labs()[name]) == {"one", "two", "underlay"}
        assert cgroups.of_lab(name)
        maker.kill()
    wait_until("the lab's processes gone", lambda: holders_and_sleepers(name) == [], 20)
    assert machine(tmp_path) == before
    with Lab():
        assert cgroups.of_lab(name) == []


def test_a_lab_that_is_kept_outlives_its_maker_until_it_is_ended() -> None:
    argv = [sys.executable, "-c", CHILD, str(cgroup_root()), "keep"]
    name = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=20).stdout.strip()
    tool = [sys.executable, "-m", "portico.testing.lab"]
    time.sleep(0.2)
    seen = subprocess.run([*tool, "enter", name, "one", "hostname"], capture_output=True, text=True, timeout=20)
    assert seen.stdout == "one\n"
    with Lab():
        assert cgroups.of_lab(name) != []
    assert subprocess.run([*tool, "end", name], timeout=20).returncode == 0
    wait_until("the lab's processes gone", lambda: holders_and_sleepers(name) == [], 20)
    assert cgroups.of_lab(name) == []
    assert subprocess.run([*tool, "end", name], capture_output=True, timeout=20).returncode == 1
