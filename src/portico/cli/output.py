# SPDX-License-Identifier: Apache-2.0
"""Objects as text: a table for people, and json, yaml, csv and bare values for programs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

FORMATS = ("table", "json", "yaml", "value", "csv")
Object = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a command `-f FORMAT` and `-c COLUMN`."""
    parser.add_argument("-f", "--format", choices=FORMATS, default="table", help="how to print (default: table)")
    parser.add_argument(
        "-c", "--column", action="append", default=[], metavar="NAME", help="print this attribute; may be repeated"
    )


def render_list(objects: Sequence[Object], columns: Sequence[str], form: str) -> str:
    """Return many objects, each with `columns`, as text that ends with a newline unless empty."""
    rows = [{column: item.get(column) for column in columns} for item in objects]
    if form in {"json", "yaml"}:
        return document(rows, form)
    cells = [[_cell(row[column], "\n" if form == "table" else ", ") for column in columns] for row in rows]
    if form == "table":
        return _table([[c.upper() for c in columns], *cells])
    if form == "csv":
        return _csv([list(columns), *cells])
    return "".join(" ".join(row) + "\n" for row in cells)


def render_object(item: Object, columns: Sequence[str], form: str) -> str:
    """Return one object as text, one attribute a line; `columns` empty means all."""
    shown = {column: item.get(column) for column in (columns or sorted(item))}
    if form in {"json", "yaml"}:
        return document(shown, form)
    if form == "csv":
        return _csv([list(shown), [_cell(value, ", ") for value in shown.values()]])
    if form == "value":
        return "".join(_cell(value, ", ") + "\n" for value in shown.values())
    return _table([[name, _cell(value, "\n")] for name, value in shown.items()])


def document(value: object, form: str) -> str:
    """Return a value as json or yaml."""
    if form == "json":
        import msgspec

        return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text


def _csv(rows: list[list[str]]) -> str:
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cell(value: object, between: str) -> str:
    """Return a value as people write it; `between` separates the elements of a list."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_cell(inner, ' ')}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return between.join(_cell(element, " ") for element in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table(rows: list[list[str]]) -> str:
    """Return rows as aligned columns; a cell may have several lines."""
    split = [[cell.split("\n") for cell in row] for row in rows]
    widths = [max(len(line) for row in split for line in row[column]) for column in range(len(rows[0]))] if rows else []
    lines = []
    for row in split:
        for number in range(max(len(cell) for cell in row)):
            parts = [
                (cell[number] if number < len(cell) else "").ljust(width)
                for cell, width in zip(row, widths, strict=True)
            ]
            lines.append("  ".join(parts).rstrip() + "\n")
    return "".join(lines)
