# SPDX-License-Identifier: Apache-2.0
"""The entry point: finds the command, loads its module, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn, cast

from portico import __version__
from portico.cli.context import Command, Context
from portico.errors import PorticoError
from portico.model import packages

MODELS = Path(__file__).parents[1] / "models"


class Entry(NamedTuple):
    """A command: the module that implements it and its line in `portico --help`."""

    module: str
    help: str


COMMANDS = {
    "up": Entry("portico.cli.up", "run everything: API, broker, agent and Docker plugin"),
    "api": Entry("portico.cli.serve", "run the API and the broker alone"),
    "agent": Entry("portico.cli.serve", "run the agent alone"),
    "docker": Entry("portico.cli.serve", "run the Docker plugin alone"),
    "doctor": Entry("portico.cli.doctor", "tell what this machine lacks and how to get it"),
    "backend": Entry("portico.cli.backend", "list or show what realises networks: capabilities, hosts, health"),
    "topology": Entry("portico.cli.topology", "show networks, ports, workloads and their state as a tree"),
    "trace": Entry("portico.cli.trace", "tell whether a packet passes from port to port, and what decides it"),
    "reference": Entry("portico.cli.reference", "print the API reference of collections, those of other packages too"),
    "settings": Entry("portico.cli.settings", "print the settings in force, as a settings file"),
    "db": Entry("portico.cli.database", "upgrade, check or back up the database"),
    "policy": Entry("portico.cli.policy", "print the rules of who may do what, or check a file of them"),
    "units": Entry("portico.cli.units", "write the systemd units to a directory"),
    "lab": Entry("portico.cli.lab", "make hosts in namespaces of this machine, to try things"),
}
RESOURCE = "portico.cli.resource"
RENAMED = {"policy": "qos_policy"}
"""The words of resources whose own is another command's."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: this process's arguments) names and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words)
        sys.stdout.flush()
    except PorticoError as error:
        detail = f" ({error.detail})" if error.detail else ""
        sys.stderr.write(f"portico: {error.message}{detail}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has had enough (`| head`); the interpreter must not flush into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(words: list[str]) -> int:
    top = _top_parser()
    arguments = top.parse_args(words)
    overrides = dict(_pair(top, text) for text in arguments.set)
    if arguments.url:
        overrides["api_url"] = arguments.url
    word = arguments.command.replace("-", "_")
    entry = COMMANDS.get(word)
    if word == "agent" and arguments.words and not arguments.words[0].startswith("-"):
        # `portico agent` runs the agent; `portico agent list` is about all agents.
        entry = None
    collections = {} if entry else _collection_words()
    if entry is None and word not in collections:
        _unknown(top, arguments.command)
    command = cast(Command, importlib.import_module(entry.module if entry else RESOURCE))
    parser = argparse.ArgumentParser(
        prog=f"portico {arguments.command}", description=entry.help if entry else None, allow_abbrev=False
    )
    parser.set_defaults(command=collections.get(word, word))
    command.add_arguments(parser)
    with Context(arguments.config, overrides) as context:
        return command.run(parser.parse_args(arguments.words), context)


class _TopParser(argparse.ArgumentParser):
    """Finds out which commands there are when somebody wants to read that: each of the other commands knows its own."""

    def format_help(self) -> str:
        self.epilog = _commands_help()
        return super().format_help()


def _top_parser() -> argparse.ArgumentParser:
    parser = _TopParser(
        prog="portico",
        description="One network API for containers, virtual machines and processes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings file (default: /etc/portico/portico.toml)"
    )
    parser.add_argument("--url", help="the API, such as http://127.0.0.1:9696 (default: the api_url setting)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting; may be repeated")
    parser.add_argument("--version", action="version", version=f"portico {__version__}", help="print the version")
    parser.add_argument("command", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.usage = "portico [--config FILE] [--url URL] [--set NAME=VALUE] COMMAND ..."
    return parser


def _commands_help() -> str:
    lines = ["commands:", *(f"  {word:<12} {entry.help}" for word, entry in COMMANDS.items())]
    lines += ["", "collections (list, show, create, set, delete; `portico port --help` for each):"]
    lines += [f"  {word.replace('_', '-')}" for word in sorted(_collection_words())]
    return "\n".join(lines)


def resource_words() -> set[str]:
    """Return the resources that have commands, without loading the registry: files tell by lines of their own."""
    paths = (path for folder in (MODELS, *packages.folders().values()) for path in folder.glob("*.yaml"))
    return {name for path in paths if (name := packages.resource_of(path, defines=True))}


def _collection_words() -> dict[str, str]:
    """Return the words by which people name collections, each with its resource."""
    return {RENAMED.get(name, name): name for name in resource_words()}


def _pair(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        parser.error(f"--set {text}: must be NAME=VALUE")
    return name, value


def _unknown(parser: argparse.ArgumentParser, word: str) -> NoReturn:
    words = [*COMMANDS, *(w.replace("_", "-") for w in _collection_words())]
    close = difflib.get_close_matches(word, words, 1)
    parser.error(f"no command {word!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
