# SPDX-License-Identifier: Apache-2.0
"""Runs the demo: exit code 0 only if everyone reaches whom they should, and nobody else.

KEEP=1 in the environment leaves everything running and tells how to look around and how to end it.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from demo import measure, table
from demo.screen import Screen
from demo.stage import PORTICO, Stage
from portico.testing.lab import Lab

INTRODUCTION = """\
Two networks of Portico on one machine, with the same subnet. On blue: the containers ann, bob and shop, and a virtual
machine; on red: rex and roy. Members of the default security group reach each other; shop is in group web, which opens
TCP port 80 only. ann and the virtual machine have a second port each, on a routed network and in group web; an FRR on
another host learns by BGP how they are reached. On green, which has a way out: gus, in group web and with a floating
IP, and gil, whose port 80 is published on the host; its router joins it to blue."""

PROGRAMS = ("bird", "containerd", "dnsmasq", "docker", "dockerd", "ip", "iperf3", "nft", "qemu-system-x86_64", "vtysh")


def main() -> int:
    """Build the stage, measure, show, and clean up."""
    screen = Screen()
    if os.geteuid() != 0:
        screen.print("demo: must run as root, as it makes network namespaces: sudo make demo")
        return 1
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        screen.print(f"demo: not installed: {', '.join(missing)} (`make packages` installs them)")
        return 1
    started = time.monotonic()
    screen.heading("Portico demo")
    screen.print(INTRODUCTION)
    screen.print()
    with Lab() as lab:
        try:
            code = _play(lab, screen)
        except KeyboardInterrupt:
            screen.print("demo: interrupted")
            return 130
        screen.print(f"  {time.monotonic() - started:.0f} s in all")
        if os.environ.get("KEEP", "0") not in ("", "0"):
            lab.keep()
            _tell_how_to_look_around(screen, lab.name)
    return code


def _play(lab: Lab, screen: Screen) -> int:
    stage = Stage(lab, screen)
    try:
        stage.build()
        seen = measure.reach(stage, screen)
        ways, told = measure.ways(stage, screen)
        figures = measure.figures(stage, screen)
    except (AssertionError, OSError) as error:
        screen.print(
            f"\n{screen.paint('demo failed', 'red')}: {error}\n\nportico up wrote last:\n{stage.portico_log()}"
        )
        return 1
    screen.heading("Who reaches whom (rows to columns)")
    table.show(screen, seen)
    screen.heading("Across the router, out, and in")
    table.show_ways(screen, ways, told)
    screen.heading("Round-trip times and throughput")
    for figure in figures:
        screen.print(f"  {figure.what:<55} {figure.value}")
    screen.heading("Result")
    wrong = table.wrong(seen, ways, told)
    for sentence in wrong:
        screen.print(f"  {screen.paint('WRONG', 'red')} {sentence}")
    screen.print(f"  {screen.paint(table.summary(seen, ways, told), 'red' if wrong else 'green')}")
    return 1 if wrong else 0


def _tell_how_to_look_around(screen: Screen, lab: str) -> None:
    program = os.path.relpath(PORTICO, Path.cwd())
    portico = f"sudo {program}" if "SUDO_USER" in os.environ else program
    enter = f"{portico} lab enter {lab} demo"
    screen.heading("Left running (KEEP=1)")
    for command, meaning in (
        (f"{enter}", "a shell on the host: docker ps, ip link, nft list ruleset"),
        (f"{enter} {program} topology", "networks, ports and workloads"),
        (f"{enter} docker exec -it ann sh", "inside a container: ping, wget, nc, ip"),
        (f"{portico} lab end {lab}", "end it; nothing is left"),
    ):
        screen.print(f"  {screen.paint(command, 'cyan')}\n      {meaning}")


if __name__ == "__main__":
    sys.exit(main())
