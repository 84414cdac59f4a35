# SPDX-License-Identifier: Apache-2.0
"""Where in which file something stands: the beginning of every complaint about a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from portico.errors import SettingsError


class Place:
    """A key of a file. `keys` is the way to it from the top of the document, `words` tell people of it."""

    def __init__(self, path: Path, keys: tuple[str | int, ...] = (), words: tuple[str, ...] = ()) -> None:
        self.path = path
        self.keys = keys
        self.words = words

    def at(self, word: str, *keys: str | int) -> Place:
        """Return a place further inside; without `keys` one that is only told more of."""
        return Place(self.path, (*self.keys, *keys), (*self.words, word))

    def __str__(self) -> str:
        # Read again: that lines are known costs nothing as long as nobody asks.
        return f"{self.path}:{line_of(self.path, self.keys)}"

    def fault(self, rule: str) -> SettingsError:
        """Return the error that names file and line, what stands there, and the rule broken."""
        return SettingsError(f"model {': '.join((str(self), *self.words))}: {rule}")

    def mapping(self, value: object) -> dict[str, Any]:
        """Return `value`, which must be a mapping with text keys."""
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.fault("must be a mapping with text keys")
        return value


def line_of(path: Path, keys: tuple[str | int, ...]) -> int:
    """Return the line, from 1, of the last of `keys` that the file has on the way from its top."""
    try:
        node = yaml.compose(path.read_text(), yaml.SafeLoader)
    except (OSError, UnicodeDecodeError):
        return 1
    except yaml.MarkedYAMLError as error:
        return error.problem_mark.line + 1 if error.problem_mark else 1
    except yaml.YAMLError:
        return 1
    line = node.start_mark.line if node is not None else 0
    for key in keys:
        found = _inside(node, key)
        if found is None:
            break
        line, node = found
    return line + 1


def _inside(node: yaml.Node | None, key: str | int) -> tuple[int, yaml.Node] | None:
    """Return where `key` stands in a node, and what is under it."""
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line, node.value[key]
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return name.start_mark.line, value
    return None
