# SPDX-License-Identifier: Apache-2.0
"""`python -m conformance`: run OpenStack's API tests against Portico and print what became of them.

Exit codes: 0 all passed, or were skipped for a reason that selection.yaml knows; 1 otherwise; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

from conformance import keystone, selection, suite
from conformance.outcome import failures, reasons, table, unexplained
from portico.testing.postgresql import PostgresqlServer

LIMIT_S = 3600
DESCRIPTION = "Run OpenStack's API tests against Portico, beside a real Keystone, and print what became of them."


def main(words: list[str]) -> int:
    """Run what the words say."""
    arguments = _parser().parse_args(words)
    start = time.monotonic()
    chosen = selection.load()
    patterns = arguments.tests or chosen.patterns(fast=arguments.fast)
    settings = dict(pair.split("=", 1) for pair in arguments.set)
    with keystone.running() as identity, contextlib.ExitStack() as stack:
        if arguments.postgresql:
            settings["database"] = stack.enter_context(PostgresqlServer()).url()
        done = suite.run(chosen, patterns, settings, identity, at_once=arguments.at_once, limit_s=LIMIT_S)
    report = [table(done.outcomes), reasons(done.outcomes, done.expected), failures(done.outcomes)]
    sys.stdout.write("\n\n".join(report) + f"\n\n{time.monotonic() - start:.0f} s in all\n")
    return 1 if unexplained(done.outcomes, done.expected) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("tests", nargs="*", metavar="REGEX", help="run the tests with such ids instead of the list's")
    parser.add_argument("--fast", action="store_true", help="run the tests that `make test` runs")
    parser.add_argument("--postgresql", action="store_true", help="keep Portico's data in PostgreSQL instead of SQLite")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of Portico")
    parser.add_argument("--at-once", type=int, default=2, help="classes of tests side by side (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
