# SPDX-License-Identifier: Apache-2.0
"""`portico units`: the systemd units, with the path of this installation in them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from portico.cli.context import Context
from portico.errors import PorticoError

UNITS = Path(__file__).parents[1] / "packaging" / "systemd"
# Where systemd looks for each kind of file, below the directory of --to.
PLACES = {
    ".service": Path("etc/systemd/system"),
    ".tmpfiles": Path("etc/tmpfiles.d"),
    ".modules": Path("etc/modules-load.d"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the directory."""
    parser.add_argument("--to", type=Path, default=Path("/"), metavar="DIR", help="root to write below (default: /)")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Write the files and print their names."""
    for path, text in files(Path(sys.executable).parent / "portico"):
        target = arguments.to / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        except OSError as error:
            raise PorticoError(f"{target}: cannot be written: {error.strerror}") from error
        sys.stdout.write(f"{target}\n")
    return 0


def files(program: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file's path below the root and its text; `program` is the portico that the units start."""
    for source in sorted(UNITS.iterdir()):
        place = PLACES[source.suffix]
        name = source.name if source.suffix == ".service" else f"{source.stem}.conf"
        yield place / name, source.read_text().replace("@PORTICO@", str(program))
