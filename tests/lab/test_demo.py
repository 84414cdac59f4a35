# SPDX-License-Identifier: Apache-2.0
"""`make demo` keeps its word: exit code, table, what KEEP=1 leaves, and that it ends without a trace."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from portico.testing.lab import cgroups, running, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.long]

ROOT = Path(__file__).parents[2]
PORTICO = Path(sys.executable).with_name("portico")


def run(argv: list[str | Path], timeout_s: float, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository's root."""
    return subprocess.run(
        argv, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=timeout_s
    )


def test_the_demo_succeeds_and_with_keep_leaves_a_lab_that_can_be_entered_and_ended() -> None:
    demo = run([sys.executable, "-m", "demo"], 240, KEEP="1")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "123 of 123 as expected" in demo.stdout
    assert re.search(r"round trip ann -> vm .* ms", demo.stdout)
    assert "\x1b" not in demo.stdout
    [name] = re.findall(r"portico lab end (\S+)", demo.stdout)
    assert name in running.labs()
    enter: list[str | Path] = [PORTICO, "lab", "enter", name, "demo"]
    assert run([*enter, "docker", "exec", "ann", "hostname"], 20).stdout == "ann\n"
    assert "port vm" in run([*enter, PORTICO, "topology"], 20).stdout
    assert run([PORTICO, "lab", "end", name], 20).returncode == 0
    wait_until("the lab gone", lambda: name not in running.labs(), 20)
    assert cgroups.of_lab(name) == []


def test_the_demo_fails_and_says_so_when_something_is_missing() -> None:
    demo = run([sys.executable, "-m", "demo"], 60, PATH="")
    assert demo.returncode == 1
    assert "demo: not installed: bird, containerd, dnsmasq" in demo.stdout
