# SPDX-License-Identifier: Apache-2.0
"""Every backend is a folder with a README in fixed sections and a test that subclasses the suite."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import portico.backends

FOLDER = Path(portico.backends.__path__[0])
SECTIONS = ["Name", "Description", "Maps to", "Limits", "Status", "See also"]
NAMES = sorted(path.name for path in FOLDER.iterdir() if (path / "__init__.py").is_file())


def test_the_backends_in_the_tree_are_found() -> None:
    assert {"bridge", "memory"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_has_the_fixed_sections(name: str) -> None:
    text = (FOLDER / name / "README.md").read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert text.startswith(f"# {name}\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_suite_is_run(name: str) -> None:
    assert re.search(r"class Test\w+\((Backend|Router)Suite\)", (Path(__file__).parent / f"test_{name}.py").read_text())
