# SPDX-License-Identifier: Apache-2.0
"""Which other packages bring models: those that name an entry point of the group `portico.models`.

Its value is a package whose folder holds YAML files. All that are installed count, whatever the settings say: so that
commands, tables and the reference are the same on every machine, and a backend can leave the settings and come back.
"""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from portico.errors import SettingsError

GROUP = "portico.models"
_LINE = re.compile(r"^(resource|plural):[ ]+([a-z][a-z0-9_]*)[ ]*(?:#.*)?$", re.MULTILINE)


def folders(group: str = GROUP) -> dict[str, Path]:
    """Return the folder of each package's models, by the name of its entry point, in the order of names.

    Raises:
        SettingsError: two have one name, or there is no such package.
    """
    if not is_mentioned(group):
        return {}
    from importlib.metadata import entry_points

    found: dict[str, Path] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        whose = f"entry point {entry.name} of {entry.dist.name if entry.dist else 'an unknown distribution'}"
        if entry.name in found:
            raise SettingsError(f"models: {whose}: another installed package has this name: {found[entry.name]}")
        found[entry.name] = _folder(entry.value, whose)
    return found


def is_mentioned(group: str) -> bool:
    """Tell whether any installed distribution has entry points of a group; much quicker than to ask for them."""
    section = f"[{group}]".encode()
    for folder in dict.fromkeys(sys.path):
        for kind in ("dist-info", "egg-info"):
            for path in Path(folder or ".").glob(f"*.{kind}/entry_points.txt"):
                if section in path.read_bytes():
                    return True
    return False


def resource_of(path: Path, *, defines: bool = False) -> str:
    """Return of which resource a model's file tells, as a plain line of its own does; "" if none does.

    That is much quicker than to read the file as YAML, and needs no reader. With `defines` only a file counts that
    defines the resource: with its plural.
    """
    told = dict(_LINE.findall(path.read_text(errors="replace")))
    return told.get("resource", "") if "plural" in told or not defines else ""


def _folder(package: str, whose: str) -> Path:
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError(f"models: {whose}: '{package}' is no installed package")
    return Path(next(iter(spec.submodule_search_locations)))
