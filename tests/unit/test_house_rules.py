# SPDX-License-Identifier: Apache-2.0
"""The house rules that no linter knows: sizes, names, licence lines, and what an installation weighs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src").rglob("*.py"))
CODE = sorted(
    path
    for folder in ("src", "tests", "bench", "scripts", "demo", "conformance")
    for path in (ROOT / folder).rglob("*.py")
)
FORBIDDEN_NAMES = {"utils", "common", "helper", "helpers", "base", "manager"}
# A migration is a list of statements, and stays as it was written.
MIGRATIONS = ROOT / "src/portico/store/migrations"
MEGABYTE = 1_000_000


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_protocol(node: ast.ClassDef) -> bool:
    return any((isinstance(b, ast.Name) and b.id == "Protocol") for b in node.bases)


def test_no_module_is_longer_than_400_lines() -> None:
    long = {where(p, n): n for p in CODE if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}


def test_no_function_is_longer_than_60_lines() -> None:
    long = {}
    for path in CODE:
        for function in functions(path) if MIGRATIONS not in path.parents else ():
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            if lines > 60:
                long[f"{where(path, function.lineno)} {function.name}"] = lines
    assert long == {}


def test_a_protocol_has_at_most_six_methods() -> None:
    wide = {}
    for path in SOURCE:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef) and is_protocol(node):
                methods = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
                if len(methods) > 6:
                    wide[f"{where(path, node.lineno)} {node.name}"] = len(methods)
    assert wide == {}


def test_no_module_or_class_has_a_name_that_says_nothing() -> None:
    vague = [where(p, 1) for p in CODE if p.stem in FORBIDDEN_NAMES or p.parent.name in FORBIDDEN_NAMES]
    for path in CODE:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                words = {w.lower() for w in re.findall(r"[A-Z][a-z]+", node.name)}
                if words & FORBIDDEN_NAMES:
                    vague.append(f"{where(path, node.lineno)} {node.name}")
    assert vague == []


def test_every_file_starts_with_its_licence() -> None:
    without = [where(p, 1) for p in CODE if not p.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n")]
    assert without == []


def test_no_test_patches_code_from_outside_or_is_left_out() -> None:
    forbidden = re.compile(
        r"mock\.patch|from unittest import mock|import unittest\.mock|pytest\.mark\.(skip|xfail)|pytest\.skip\("
    )
    here = Path(__file__)
    found = [
        where(path, number)
        for path in CODE
        if path != here
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if forbidden.search(line)
    ]
    assert found == []


def locked() -> dict[str, str]:
    """Return the run-time packages of the lock: name to version."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))


def test_the_lock_names_no_host_and_no_path() -> None:
    for lock in (
        "requirements.lock",
        "requirements-dev.lock",
        "conformance/requirements.lock",
        "conformance/neutron.lock",
    ):
        found = re.findall(
            r".*(?:https?://|file:/|--(?:extra-)?index-url|--find-links|--trusted-host).*", (ROOT / lock).read_text()
        )
        assert found == [], lock


def test_the_environment_is_what_the_lock_says() -> None:
    found = {name: distribution(name).version for name in locked()}
    assert found == locked()


def test_an_installation_has_fewer_than_45_packages_and_the_readme_says_how_many() -> None:
    assert len(locked()) + 1 < 45
    assert f" {len(locked())} Python packages " in (ROOT / "README.md").read_text()


def test_an_installation_weighs_less_than_80_megabytes() -> None:
    sizes = {}
    for name in locked():
        files = distribution(name).files
        assert files, f"{name} has no RECORD"
        sizes[name] = sum(f.size or 0 for f in files)
    own = sum(p.stat().st_size for p in (ROOT / "src").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    assert sum(sizes.values()) + own < 80 * MEGABYTE, sorted(sizes.items(), key=lambda kv: -kv[1])[:5]


@pytest.mark.parametrize("folder", ["src", "tests", "bench", "demo", "conformance", "docs"])
def test_no_file_names_a_path_of_somebodys_machine(folder: str) -> None:
    paths = re.compile(r"/wo[r]k/(?:main|shared|brief)|/root/\.|/home/[a-z]+/|/opt/(?:pypi|wheels)")
    text = [
        p
        for p in (ROOT / folder).rglob("*")
        if p.suffix in {".py", ".md", ".yaml", ".toml", ".sh"} and p != Path(__file__)
    ]
    assert [where(p, 1) for p in text if paths.search(p.read_text())] == []
