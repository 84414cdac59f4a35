# SPDX-License-Identifier: Apache-2.0
"""What a command gets besides its own arguments, and what a command is."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from portico.client import Access, Client
    from portico.settings import Settings


def access_of(settings: Settings) -> Access:
    """Return as whom the settings say that the API is asked.

    Raises:
        SettingsError: the password cannot be read.
    """
    from portico.client import Access

    return Access.read(settings.api_user, settings.api_password_file, settings.api_ca, settings.api_certificate)


class Context:
    """Settings and a client, each made when a command first asks for it, and closed at the end.

    Args:
        config: the file of `--config`, or None.
        overrides: settings from the command line by dotted name.
    """

    def __init__(self, config: Path | None, overrides: Mapping[str, str]) -> None:
        self.config = config
        self.overrides = dict(overrides)
        self._open = ExitStack()

    @cached_property
    def settings(self) -> Settings:
        """The settings; `SettingsError` if one is wrong."""
        from portico import settings

        return settings.load(self.config, self.overrides)

    @cached_property
    def client(self) -> Client:
        """A client of the API at `api_url`."""
        from portico.client import Client

        return self._open.enter_context(Client(self.settings.api_url, access=access_of(self.settings)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


class Command(Protocol):
    """A module that implements a command."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say which arguments the command takes."""

    def run(self, arguments: argparse.Namespace, context: Context) -> int:
        """Do it and return the exit code; raise `PorticoError` for what a person should read as one line."""
