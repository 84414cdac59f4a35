# SPDX-License-Identifier: Apache-2.0
"""`portico reference`: the API reference of collections as Markdown, from their models."""

from __future__ import annotations

import argparse
import sys

from portico.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the collections."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="a collection by its word, such as security-group")


def run(arguments: argparse.Namespace, _context: Context) -> int:
    """Print a page for each."""
    from portico.cli.main import RENAMED
    from portico.model.load import load
    from portico.model.reference import page

    known = {RENAMED.get(name, name).replace("_", "-"): resource for name, resource in load().resources.items()}
    if unknown := [name for name in arguments.names if name not in known]:
        sys.stderr.write(f"portico: there is no collection {unknown[0]}; known are: {', '.join(sorted(known))}\n")
        return 1
    sys.stdout.write("\n".join(page(known[name]) for name in arguments.names))
    return 0
