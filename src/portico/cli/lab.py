# SPDX-License-Identifier: Apache-2.0
"""`portico lab`: hosts in namespaces of this machine."""

from __future__ import annotations

import argparse

from portico.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Hand everything on."""
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="...", help="list, enter LAB HOST [COMMAND], end LAB"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Do what the lab's own command line does."""
    from portico.testing.lab.__main__ import main

    return main(arguments.words)
