# SPDX-License-Identifier: Apache-2.0
"""`portico policy`: the rules in force, and whether a file of them can be used."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from portico.cli import overrides
from portico.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take what to do."""
    verbs = parser.add_subparsers(title="verbs", dest="verb", required=True, metavar="VERB")
    show = verbs.add_parser("show", help="print the rules in force, as a policy file")
    show.add_argument("names", nargs="*", metavar="RULE", help="rules to print (default: all)")
    check = verbs.add_parser("check", help="tell whether a policy file can be used; exit 1 when it cannot")
    check.add_argument("file", type=Path, metavar="FILE", help="the file")
    overrides.add_arguments(show)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Do what the verb says."""
    from portico.model.load import load
    from portico.policy.policy import Policy, texts

    if arguments.verb == "check":
        registry = load()
        Policy(registry, arguments.file)
        before, after = texts(None, registry), texts(arguments.file, registry)
        changed = sum(after[name] != before.get(name) for name in after)
        sys.stdout.write(f"{arguments.file}: can be used, {changed} rules differ from the defaults\n")
        return 0
    named = overrides.apply(arguments, context).policy_file
    rules = texts(Path(named) if named else None, load())
    unknown = [name for name in arguments.names if name not in rules]
    if unknown:
        sys.stderr.write(f"portico: there is no rule {unknown[0]}\n")
        return 1
    for name in arguments.names or rules:
        quoted = rules[name].replace("'", "''")
        sys.stdout.write(f"{name}: '{quoted}'\n")
    return 0
