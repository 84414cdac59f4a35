# SPDX-License-Identifier: Apache-2.0
"""`portico db`: the database's schema and its copy."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from portico.cli import overrides
from portico.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take what to do."""
    verbs = parser.add_subparsers(title="verbs", dest="verb", required=True, metavar="VERB")
    upgrade = verbs.add_parser("upgrade", help="make the schema, or bring it to this version; stop `portico up` before")
    check = verbs.add_parser(
        "check", help="tell the schema's version and what is damaged; exit 1 if it is not as it should be"
    )
    backup = verbs.add_parser("backup", help="write a consistent copy of a SQLite database, also while it is in use")
    backup.add_argument("target", type=Path, metavar="FILE", help="the copy; it must not exist")
    drop = verbs.add_parser("drop", help="remove the table of another package's resource; stop `portico up` before")
    drop.add_argument("resource", metavar="RESOURCE", help="its name, as `portico db check` prints it")
    drop.add_argument("--force", action="store_true", help="also if it has objects, which are lost")
    for made in (upgrade, check, backup, drop):
        overrides.add_arguments(made)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Do what the verb says."""
    from portico.model.load import load
    from portico.store import extend, schema
    from portico.store.store import Store

    store = Store(overrides.apply(arguments, context).database, load())
    try:
        if arguments.verb == "upgrade":
            schema.ensure(store)
        elif arguments.verb == "backup":
            schema.backup(store, arguments.target)
        elif arguments.verb == "drop":
            count = extend.drop(store, arguments.resource, force=arguments.force)
            sys.stdout.write(f"{arguments.resource}: removed with {count} objects\n")
            return 0
        found = schema.version(store)
        is_current = found == schema.HEAD
        faults = schema.faults(store) if is_current and arguments.verb == "check" else []
        packages = extend.findings(store) if is_current and not faults else []
    finally:
        store.close()
    place = store.engine.url.render_as_string(hide_password=True)
    sys.stdout.write(f"{place}: schema {found or 'absent'}, this program's is {schema.HEAD}\n")
    for item in packages:
        sys.stdout.write(f"{item.resource}: {item}\n")
    if faults:
        sys.stderr.write("".join(f"fault: {text}\n" for text in faults) + "damaged: go back to a backup\n")
        return 1
    if is_current:
        return int(any(item.trouble or item.lacks != () for item in packages))
    sys.stderr.write(f"{_what_to_do(found, schema.HEAD)}\n")
    return 1


def _what_to_do(found: str | None, head: str) -> str:
    if found is None:
        return "empty: `portico db upgrade` makes the schema, as does the API when it starts"
    if found > head:
        return "newer: install the Portico that wrote it, or go back to a backup; this one leaves it alone"
    return "older: back it up, end all API servers, then `portico db upgrade`, or start the new API"
