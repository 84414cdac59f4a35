# SPDX-License-Identifier: Apache-2.0
"""`portico up`: everything runs, keeps running, and ends without a trace of itself."""

from __future__ import annotations

import signal
import socket

import pytest

from portico.testing.lab import wait_until

from .conftest import PORTICO, Machine

pytestmark = pytest.mark.lab
NO_DOCKER = ("--docker-enabled", "false")


def agent_pid(machine: Machine) -> int:
    pids = [pid for pid, args in machine.processes().items() if args.endswith(" agent")]
    assert len(pids) == 1
    return pids[0]


def agent_is_alive(machine: Machine) -> bool:
    return [agent["alive"] for agent in machine.json("agent", "list")] == [True]


def make_port(machine: Machine, name: str) -> None:
    machine.json("network", "create", name)
    machine.json("subnet", "create", "--network", name, "10.1.0.0/24")
    machine.json("port", "create", name, "--network", name)


def test_a_tap_is_plugged_seen_in_the_topology_and_unplugged(machine: Machine) -> None:
    machine.up(*NO_DOCKER)
    make_port(machine, "blue")
    code, out, err = machine.portico("port", "plug", "blue", "--tap", "tap-blue")
    assert (code, err) == (0, "")
    assert out.startswith("tap-blue  mac fa:16:3e:")
    assert "tap-blue" in machine.host.run(["ip", "-br", "link"]).out
    tree = machine.portico("topology")[1]
    assert tree.startswith("network blue  ACTIVE  mtu 1500\n├─ subnet ")
    assert "port blue  ACTIVE  10.1.0." in tree
    assert "on h1 as tap" in tree
    assert (
        machine.portico("port", "plug", "blue", "--host", "h2")[2].count(
            "is plugged on host 'h1'; unplug it there first"
        )
        == 1
    )
    assert machine.portico("port", "unplug", "blue") == (0, "", "")
    wait_until("the tap is gone", lambda: "tap-blue" not in machine.host.run(["ip", "-br", "link"]).out, 20)


def test_a_plug_waits_for_the_tap_that_a_hypervisor_makes_and_says_so_meanwhile(machine: Machine) -> None:
    machine.up(*NO_DOCKER)
    make_port(machine, "blue")
    words = ["port", "plug", "blue", "--tap", "tap-blue", "--no-make"]
    code, _, err = machine.portico(*words, "--wait", "1")
    assert code == 1
    assert err.splitlines()[-1].endswith("not ACTIVE, after 1 s: tap tap-blue does not exist on this host yet")
    plug = machine.host.spawn([*PORTICO, *words, "--wait", "20"], log="plug")
    plug.wait_for_text("waiting: port blue is ", timeout_s=20)
    machine.host.run(["ip", "tuntap", "add", "tap-blue", "mode", "tap"])
    assert plug.wait(10) == 0, plug.tail()
    assert machine.json("port", "show", "blue")["status"] == "ACTIVE"


def test_a_plug_on_a_host_without_an_agent_says_so(machine: Machine) -> None:
    machine.up(*NO_DOCKER)
    make_port(machine, "blue")
    code, _, err = machine.portico("port", "plug", "blue", "--host", "elsewhere", "--wait", "1")
    assert code == 1
    assert err.startswith("portico: port blue: is DOWN, not ACTIVE, after 1 s: ")


def test_explain_finds_what_a_stranger_broke_and_nothing_when_all_is_well(machine: Machine) -> None:
    machine.up(*NO_DOCKER)
    make_port(machine, "blue")
    code, out, _ = machine.portico("port", "explain", "blue")
    assert (code, out) == (0, "port blue  DOWN  not plugged\n")
    machine.portico("port", "plug", "blue", "--tap", "tap-blue")
    code, out, err = machine.portico("port", "explain", "blue")
    assert (code, err) == (0, ""), out
    assert out.splitlines()[0] == "port blue  ACTIVE  on h1 as tap"
    assert "aspects as wanted" in out
    # A stopped agent, because a running one repairs it before we can look.
    machine.host.run(["kill", "-STOP", str(agent_pid(machine))])
    machine.host.run(["ip", "link", "set", "tap-blue", "mtu", "1234"])
    code, out, _ = machine.portico("port", "explain", "blue")
    assert code == 1
    assert [line.split() for line in out.splitlines() if " mtu " in line] == [["false", "tap", "mtu", "1500", "1234"]]
    code, out, _ = machine.portico("trace", "blue", "10.1.0.77", "--kernel")
    assert (code, out.splitlines()[-1]) == (1, "it does not pass: tap mtu: wanted 1500, found 1234")


@pytest.mark.parametrize(
    ("edit", "aspect", "shown"),
    [
        ("insert rule bridge portico {group} counter accept", "filter {group}", "accept"),
        ("add rule bridge portico guard accept", "filter guard", "accept"),
        ("flush set bridge portico srcn4", "filter srcn4", "198.51.100.0/24"),
        ("flush map bridge portico egress", "filter egress", "goto egress-"),
        ("flush set bridge portico {members}", "filter {members}", "10.1.0."),
        ("delete table inet portico", "filter inet/state", "ct state"),
    ],
)
def test_explain_names_each_edit_of_the_filter(machine: Machine, edit: str, aspect: str, shown: str) -> None:
    machine.up(*NO_DOCKER)
    make_port(machine, "blue")
    pair = "ip_address=198.51.100.0/24"
    assert machine.portico("port", "update", "blue", "--allowed-address-pair", pair)[0] == 0
    machine.portico("port", "plug", "blue", "--tap", "tap-blue")
    [group] = machine.json("port", "show", "blue")["security_groups"]
    names = {"group": f"ingress-{group}", "members": f"m4-{group}"}
    assert machine.portico("port", "explain", "blue")[0] == 0
    machine.host.run(["kill", "-STOP", str(agent_pid(machine))])
    machine.host.run(["ip", "netns", "exec", "portico", "nft", *edit.format(**names).split()])
    code, out, _ = machine.portico("port", "explain", "blue")
    assert code == 1
    [line] = [line for line in out.splitlines() if line.startswith("false ") and aspect.format(**names) in line]
    assert shown in line


def test_purge_removes_what_is_ours_and_only_when_no_agent_runs(machine: Machine) -> None:
    up = machine.up(*NO_DOCKER)
    make_port(machine, "blue")
    machine.portico("port", "plug", "blue", "--tap", "tap-blue")
    assert machine.portico("agent", "--purge")[0] == 1
    up.stop()
    code, out, err = machine.portico("agent", "--purge")
    assert (code, err) == (0, "")
    assert "removed tap tap-blue" in out
    assert machine.host.run(["ip", "netns"]).out == ""
    assert machine.processes() == {}
    assert machine.portico("agent", "--purge") == (0, "", "")


def test_the_end_of_up_leaves_the_data_plane_and_no_process_of_portico(machine: Machine) -> None:
    up = machine.up(*NO_DOCKER)
    make_port(machine, "blue")
    machine.portico("port", "plug", "blue", "--tap", "tap-blue")
    up.send_signal(signal.SIGTERM)
    assert up.wait(12) == 0, up.tail()
    assert [args for args in machine.processes().values() if "portico.cli" in args] == []
    assert "tap-blue" in machine.host.run(["ip", "-br", "link"]).out
    assert "Traceback" not in up.output


def test_up_ends_at_once_and_quietly_while_somebody_watches(machine: Machine) -> None:
    up = machine.up()
    make_port(machine, "blue")
    wait_until("the agent reports", lambda: agent_is_alive(machine), 20)
    watch = machine.host.spawn(["curl", "-sSN", "http://127.0.0.1:9696/portico/v1/watch?since=0"], log="watch")
    watch.wait_for_text('"resource":"port"', timeout_s=20)
    up.send_signal(signal.SIGTERM)
    assert up.wait(20) == 0, up.tail()
    assert watch.wait(20) == 0, watch.tail()  # curl says so when an answer is broken off
    assert "Traceback" not in up.output and "ERROR" not in up.output.upper(), up.tail()
    assert [args for args in machine.processes().values() if "portico.cli" in args] == []


def test_when_up_is_killed_its_children_end_and_the_next_up_goes_on(machine: Machine) -> None:
    up = machine.up(*NO_DOCKER)
    make_port(machine, "blue")
    machine.portico("port", "plug", "blue", "--tap", "tap-blue")
    up.kill()
    wait_until("no process", lambda: not [a for a in machine.processes().values() if "portico.cli" in a], 20)
    machine.up(*NO_DOCKER)
    assert machine.json("port", "show", "blue")["name"] == "blue"
    wait_until("the agent reports", lambda: agent_is_alive(machine), 20)
    wait_until("ACTIVE", lambda: machine.json("port", "show", "blue")["status"] == "ACTIVE", 20)


def test_an_agent_that_is_killed_is_started_again(machine: Machine) -> None:
    machine.up(*NO_DOCKER)
    wait_until("the agent reports", lambda: agent_is_alive(machine), 20)
    before = agent_pid(machine)
    machine.host.run(["kill", "-KILL", str(before)])
    wait_until("another agent", lambda: before not in machine.processes() and len(machine.processes()) > 1, 20)
    make_port(machine, "blue")
    assert machine.portico("port", "plug", "blue", "--tap", "tap-blue")[0] == 0


def test_a_second_up_with_the_same_state_is_refused_and_names_the_first(machine: Machine) -> None:
    up = machine.up(*NO_DOCKER)
    code, out, err = machine.portico("up", *NO_DOCKER)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.endswith("already runs with state_dir /var/lib/portico\n")
    assert up.alive


def test_a_port_that_is_taken_is_one_line_and_leaves_no_child(machine: Machine) -> None:
    with machine.host.call(lambda: socket.create_server(("127.0.0.1", 9696))):
        code, _, err = machine.portico("up", *NO_DOCKER)
    assert code == 1
    assert err.splitlines()[-1] == "portico: listen: '127.0.0.1:9696': Address already in use"
    assert machine.processes() == {}


@pytest.mark.parametrize("command", ["up", "agent", "docker"])
def test_who_is_not_root_is_told_so_in_one_line(machine: Machine, command: str) -> None:
    done = machine.host.run(["unshare", "--user", *PORTICO, command], check=False)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert f"portico: {command}: must run as root" in done.err


def test_a_state_directory_that_cannot_be_made_is_one_line(machine: Machine) -> None:
    code, _, err = machine.portico("up", "--state-dir", "/proc/nowhere")
    assert (code, err) == (1, "portico: up: state_dir /proc/nowhere: No such file or directory\n")


def test_up_takes_other_directories_and_addresses(machine: Machine) -> None:
    options = (
        "--state-dir",
        "/run/s",
        "--run-dir",
        "/run/r",
        "--listen",
        "127.0.0.1:1234",
        "--api-url",
        "http://127.0.0.1:1234",
    )
    process = machine.host.spawn([*PORTICO, "up", *options, *NO_DOCKER], log="up")

    def answers() -> bool:
        return (
            machine.portico("--url", "http://127.0.0.1:1234", "agent", "list", "-f", "value", "-c", "alive")[1]
            == "true\n"
        )

    wait_until("the agent reports", answers, 15, process.tail)
    code, out, err = machine.portico("db", "check", "--state-dir", "/run/s")
    assert (code, err) == (0, "")
    assert out.startswith("sqlite:////run/s/portico.db: schema ")


def test_a_backup_of_a_running_database_is_one(machine: Machine) -> None:
    up = machine.up(*NO_DOCKER)
    make_port(machine, "blue")
    assert machine.portico("db", "backup", "/run/copy.db")[0] == 0
    assert machine.portico("db", "backup", "/run/copy.db")[2] == "portico: backup /run/copy.db exists already\n"
    up.stop()
    machine.host.run(["sh", "-c", "rm /var/lib/portico/portico.db* && cp /run/copy.db /var/lib/portico/portico.db"])
    machine.up(*NO_DOCKER)
    assert machine.json("port", "show", "blue")["name"] == "blue"


def test_metrics_tell_of_the_agent_and_its_host(machine: Machine) -> None:
    machine.up(*NO_DOCKER, "--metrics-listen", "127.0.0.1:9697")
    make_port(machine, "blue")

    def metrics() -> str:
        return machine.host.run(["curl", "--silent", "--fail", "http://127.0.0.1:9697/metrics"], check=False).out

    def is_told() -> bool:
        found = dict(line.rsplit(" ", 1) for line in metrics().splitlines() if not line.startswith("#"))
        passes = [float(value) for name, value in found.items() if name.startswith("portico_agent_passes_total{host=")]
        return (
            bool(passes)
            and passes[0] >= 1
            and float(found["portico_hosts_connected"]) == 1
            and float(found["portico_broker_lag_revisions"]) == 0
        )

    # The first heartbeat comes before the first pass.
    wait_until("the agent tells of its passes", is_told, 30, metrics)


def test_a_host_that_is_in_an_external_network_by_a_link_of_its_own_says_so_at_the_network(machine: Machine) -> None:
    machine.host.run(["ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1"])
    machine.host.run(["ip", "addr", "add", "100.65.0.9/16", "dev", "lan0"])
    machine.up(*NO_DOCKER)
    machine.json("network", "create", "out", "--router-external", "--provider-network-type", "host")
    machine.json("subnet", "create", "--network", "out", "--no-enable-dhcp", "100.65.0.0/24")
    make_port(machine, "blue")
    machine.json("router", "create", "r", "--external-gateway-info", "network=out")
    machine.json("router", "add-router-interface", "r", "--port", "blue")
    machine.json("port", "create", "vm", "--network", "blue")
    assert machine.portico("port", "plug", "vm", "--tap", "tap-vm")[0] == 0
    told = "host h1: uplink: the host has 100.65.0.9/16 on link lan0, beside 100.65.0.1/24"
    wait_until("the network says why", lambda: told in machine.portico("topology")[1], 20)
    assert machine.json("network", "show", "out")["status"] == "ERROR"
    machine.host.run(["ip", "link", "del", "lan0"])
    wait_until("the way is made", lambda: machine.json("network", "show", "out")["status"] == "ACTIVE", 60)
    assert "px" in machine.host.run(["ip", "-br", "link"]).out
