# SPDX-License-Identifier: Apache-2.0
"""Commands run under Debian's stock kernel, with this machine's files; among them, that the agent works there too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from portico.testing.lab import NotReady, initramfs, stock_kernel

pytestmark = [pytest.mark.lab, pytest.mark.long]

# What a stock kernel has and the kernel of a test machine may lack: modules for bridges, and that they load on demand.
SCRIPT = """
ip link add br0 type bridge vlan_filtering 1 && nft add table bridge t && ip tuntap add tap0 mode tap && uname -r
touch /var/lib/written-under-the-stock-kernel
exit 7
"""


def test_a_command_runs_with_our_files_under_the_installed_kernel(capfd: pytest.CaptureFixture[str]) -> None:
    assert stock_kernel.run(["sh", "-c", SCRIPT], timeout_s=120) == 7
    release = initramfs.newest_kernel().image.name.removeprefix("vmlinuz-")
    assert release in capfd.readouterr().out.split()
    assert not Path("/var/lib/written-under-the-stock-kernel").exists()


def test_a_command_that_takes_too_long_ends_with_its_machine() -> None:
    with pytest.raises(NotReady, match=r"sleep 1000: not ended after 12 s"):
        stock_kernel.run(["sleep", "1000"], timeout_s=12, memory_mb=512)


# Of each kind a few, for an emulated machine needs minutes; `make test-stock-kernel` runs them all.
AGENT_TESTS = (
    "test_guard.py::test_a_guarded_port_may_send_what_is_its_own",
    "test_guard.py::test_a_guarded_port_may_not_send_what_is_not",
    "test_guard.py::test_a_router_advertisement_in_fragments_does_not_pass",
    "test_groups.py::test_default_is_nothing_in_all_out_with_answers",
    "test_groups.py::test_a_remote_group_admits_its_members_and_follows_them",
    "test_groups.py::test_networks_with_the_same_addresses_do_not_know_each_other",
    "test_tap.py::test_a_port_waits_for_its_tap_and_is_active_as_soon_as_it_comes",
)


def test_the_agent_guards_filters_and_plugs_under_the_stock_kernel_as_it_does_here() -> None:
    folder = Path(__file__).with_name("agent")
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        # Its import takes an emulated machine ten times as long as this one.
        "-p",
        "no:schemathesis",
        "-q",
        *(f"{folder}/{test}" for test in AGENT_TESTS),
    ]
    assert stock_kernel.run(argv, timeout_s=600) == 0
