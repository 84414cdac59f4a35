# SPDX-License-Identifier: Apache-2.0
"""An agent that needs no API: it realises the Update in a file and prints its Reports, until SIGTERM.

SIGHUP has it read the file again.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Collection
from pathlib import Path

import msgspec

from portico.agent.main import serve
from portico.agent.runtime import Place, Runtime
from portico.errors import PorticoError
from portico.hoststate import Report, Status, Update

STATE_DIR = Path("/var/lib/portico")
RUN_DIR = Path("/run/portico")


def command(update: str, netns: str = "portico", **physical_networks: str) -> list[str]:
    """Return the command that runs one on the file `update`."""
    pairs = (f"{name}={interface}" for name, interface in physical_networks.items())
    return [sys.executable, "-m", "portico.testing.agent_on_file", update, netns, *pairs]


def run(place: Place, path: Path) -> int:
    """Run the agent; see above."""

    def report(revision: int, statuses: Collection[Status]) -> None:
        sys.stdout.write(msgspec.json.encode(Report(revision, tuple(statuses))).decode() + "\n")
        sys.stdout.flush()

    runtime = Runtime(place, report)

    def offer() -> None:
        runtime.offer(msgspec.json.decode(path.read_bytes(), type=Update))

    signal.signal(signal.SIGHUP, lambda *_: offer())
    return serve(place, runtime, offer)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("update", type=Path, help="file with the Update, as JSON")
    parser.add_argument("netns", help="network namespace of the data plane")
    parser.add_argument("physical_networks", nargs="*", help="NAME=INTERFACE of those that the host has")
    parser.add_argument("--long-way", action="store_true", help="without the fast path")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        physical_networks = dict(pair.split("=", 1) for pair in given.physical_networks)
        place = Place(
            given.netns, STATE_DIR, RUN_DIR, physical_networks=physical_networks, fast_path=not given.long_way
        )
        return run(place, given.update)
    except PorticoError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
