# SPDX-License-Identifier: Apache-2.0
"""`portico settings`."""

from __future__ import annotations

import argparse
import sys

from portico import settings
from portico.cli import overrides
from portico.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the settings themselves."""
    overrides.add_arguments(parser)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the settings in force."""
    sys.stdout.write(settings.as_toml(overrides.apply(arguments, context)))
    return 0
