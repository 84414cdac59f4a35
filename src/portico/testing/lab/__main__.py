# SPDX-License-Identifier: Apache-2.0
"""`python -m portico.testing.lab`: list running labs, enter a host, end a lab."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from portico.testing.lab import running


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit code is 1 when there is no such lab or host."""
    parser = argparse.ArgumentParser(prog="python -m portico.testing.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list running labs and their hosts")
    enter = commands.add_parser("enter", help="run a command (default: a shell) on a host of a lab")
    enter.add_argument("lab")
    enter.add_argument("host")
    enter.add_argument("argv", nargs=argparse.REMAINDER)
    end = commands.add_parser("end", help="end a lab and everything in it")
    end.add_argument("lab")
    options = parser.parse_args(arguments)
    labs = running.labs()
    if options.command == "list":
        for lab, hosts in sorted(labs.items()):
            print(lab, *(f"{host}={pid}" for host, pid in sorted(hosts.items())))
        return 0
    if options.lab not in labs:
        print(f"lab {options.lab}: not running; there are: {', '.join(sorted(labs)) or 'none'}", file=sys.stderr)
        return 1
    if options.command == "end":
        running.end(options.lab)
        return 0
    hosts = labs[options.lab]
    if options.host not in hosts:
        print(f"host {options.host}: not in {options.lab}; there are: {', '.join(sorted(hosts))}", file=sys.stderr)
        return 1
    argv = options.argv or [os.environ.get("SHELL", "/bin/sh")]
    where = [f"--target={hosts[options.host]}", *running.NAMESPACES, f"--wdns={Path.cwd()}"]
    return subprocess.call(["nsenter", *where, "--", *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
