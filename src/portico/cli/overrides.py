# SPDX-License-Identifier: Apache-2.0
"""Every setting as an option of the commands that run Portico: `portico up --agent-netns blue`."""

from __future__ import annotations

import argparse

from portico import settings
from portico.cli.context import Context

PREFIX = "setting "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one option for each setting."""
    group = parser.add_argument_group("settings", "see also `portico settings`; lists are separated by commas")
    for field in settings.fields():
        flag = "--" + field.name.replace(".", "-").replace("_", "-")
        group.add_argument(flag, dest=PREFIX + field.name, metavar="VALUE", help=field.description.replace("%", "%%"))


def apply(arguments: argparse.Namespace, context: Context) -> settings.Settings:
    """Return the settings with what the options say."""
    for name, value in vars(arguments).items():
        if name.startswith(PREFIX) and value is not None:
            context.overrides[name.removeprefix(PREFIX)] = value
    return context.settings
