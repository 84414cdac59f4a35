# SPDX-License-Identifier: Apache-2.0
"""Runs tests of tempest and its plugins with stestr(1)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from conformance import BIN, process
from conformance.outcome import Outcome, outcomes
from conformance.selection import Expected

LIST_TIMEOUT_S = 300
STREAM = Path(__file__).with_name("stream.py")

Told = Callable[[dict[str, Any]], None]


def run(
    folder: Path, patterns: Sequence[str], expected: Expected, *, at_once: int, limit_s: float, told: Told
) -> list[Outcome]:
    """Run the tests whose ids match one of the patterns, and return what became of each.

    Args:
        folder: holds `.stestr.conf` and `tempest.conf`.
        expected: says which of them cannot be run yet.
        at_once: how many classes of tests are run side by side.
        limit_s: then the run is ended; tests without a result have failed.
        told: called with each result as it comes.

    Raises:
        ValueError: there are no such tests.
    """
    tests = listed(folder, patterns)
    if not tests:
        raise ValueError(f"no test matches {', '.join(patterns)}")
    withheld = {test: reason for test in tests if (reason := expected.withheld(test))}
    to_run = [test for test in tests if test not in withheld]
    results = _results(folder, to_run, at_once, limit_s, told) if to_run else ()
    return outcomes(tests, results, withheld)


def listed(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Return the ids of the tests that match one of the patterns."""
    include = folder / "patterns"
    include.write_text("".join(f"{pattern}\n" for pattern in patterns))
    process.run([str(BIN / "stestr"), "init"], {}, folder=folder, timeout_s=LIST_TIMEOUT_S)
    argv = [str(BIN / "stestr"), "list", "--include-list", str(include)]
    out = process.run(argv, _environment(folder), folder=folder, timeout_s=LIST_TIMEOUT_S)
    return [line for line in out.splitlines() if "." in line and " " not in line]


def _results(folder: Path, tests: Sequence[str], at_once: int, limit_s: float, told: Told) -> Iterator[dict[str, Any]]:
    wanted = folder / "tests"
    wanted.write_text("".join(f"{test}\n" for test in tests))
    argv = [str(BIN / "stestr"), "run", "--subunit", "--load-list", str(wanted), "--concurrency", str(at_once)]
    argv = ["setpriv", "--pdeathsig", "TERM", "timeout", "--kill-after", "20", str(limit_s), *argv]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            argv,
            cwd=folder,
            env={**os.environ, **_environment(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as running,
        subprocess.Popen([str(BIN / "python"), str(STREAM)], stdin=running.stdout, stdout=subprocess.PIPE) as reading,
    ):
        assert running.stdout and reading.stdout
        running.stdout.close()
        try:
            for raw in reading.stdout:
                line = json.loads(raw)
                told(line)
                yield line
            running.wait()
        finally:
            # Whoever interrupts does not want to wait for the tests; after their end there is nothing to terminate.
            running.terminate()
        errors.seek(0)
        sys.stderr.write(errors.read().decode(errors="replace")[-2000:])


def _environment(folder: Path) -> dict[str, str]:
    # stestr starts `python` for its workers.
    return {"TEMPEST_CONFIG_DIR": str(folder), "PATH": f"{BIN}:{os.environ['PATH']}"}
