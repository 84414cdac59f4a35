# SPDX-License-Identifier: Apache-2.0
"""Models of other packages: where they come from, what they need not say, what is wrong with them and where."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from portico.cli.main import COMMANDS
from portico.errors import SettingsError
from portico.model import packages
from portico.model.document import RESERVED
from portico.model.load import load
from portico.model.resource import Registry
from portico.store.tables import Tables

Keys = tuple[str, ...]

TUNNEL: dict[str, Any] = {
    "resource": "tunnel",
    "plural": "tunnels",
    "collection": "tunnel-list",
    "extension": "core",
    "extends": "service",
    "version": 2,
    "rules": "json",
    "doc": "A tunnel.",
    "tags": True,
    "verbs": ["list", "show", "create"],
    "unique": [["name", "port_id"]],
    "policy": {"create": "rule:admin_only"},
    "attributes": {
        "port_id": {"references": "port", "on_delete": "delete", "doc": "Its port."},
        "kind": {
            "allow_post": True,
            "is_filter": False,
            "validate": {"type:values": ["gre", "ipip"]},
            "column": "string(8)",
            "doc": "Which.",
        },
        "ttl": {
            "allow_post": True,
            "convert_to": "convert_to_int",
            "validate": {"type:range": [1, 255]},
            "default": 64,
            "column": "integer",
            "doc": "Hops.",
        },
        "label": {
            "allow_put": True,
            "validate": {"type:dict": {"text": {"type:string": 8}, "word": {"type:regex": "[a-z]+"}}},
            "column": "json",
            "doc": "A label.",
        },
    },
    "actions": {
        "flush": {"doc": "Forget.", "gives": "list", "takes": {"age": {"convert_to": "convert_to_int", "doc": "s"}}}
    },
}
# A mapping with a number for a key is right nowhere.
WRONG = {7: 8}


def paths(item: Mapping[str, Any], above: Keys = ()) -> Iterator[Keys]:
    for key, value in item.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


def is_name(path: Keys) -> bool:
    """Whether the model may choose the word."""
    return path[-2:-1] in [("attributes",), ("actions",), ("takes",), ("type:dict",)]


def text(item: Mapping[Any, Any], lines: dict[Keys, int], above: Keys = ()) -> str:
    """Write YAML; note the line of each key."""
    written: list[str] = []

    def write(part: Mapping[Any, Any], above: Keys) -> None:
        for key, value in part.items():
            written.append("  " * len(above) + f"'{key}':")
            lines[(*above, key)] = len(written)
            if isinstance(value, dict) and value != WRONG:
                write(value, (*above, key))
            else:
                written[-1] += " {7: 8}" if value == WRONG else f" {json.dumps(value)}"

    write(item, above)
    return "\n".join(written)


def spoiled(path: Keys, *, misspelt: bool) -> tuple[dict[str, Any], Keys]:
    """Return the model with one key misspelt, or with a wrong value; and where that is."""
    model = deepcopy(TUNNEL)
    inner = model
    for key in path[:-1]:
        inner = inner[key]
    if not misspelt:
        inner[path[-1]] = WRONG
        return model, path
    inner[f"{path[-1]}x"] = inner.pop(path[-1])
    return model, (*path[:-1], f"{path[-1]}x")


def test_the_model_is_right_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tunnel.yaml").write_text(text(TUNNEL, {}))
    tunnel = load([tmp_path]).resources["tunnel"]
    assert (tunnel.version, tunnel.rules, tunnel.package) == (2, "json", tmp_path.name)
    port = tunnel.attributes["port_id"]
    assert port.goes_along and port.required and port.is_visible and port.is_filter
    assert not tunnel.attributes["kind"].is_filter
    assert tunnel.attributes["revision_number"].column and tunnel.attributes["status"].is_visible


CASES = [
    (path, misspelt)
    for path in paths(TUNNEL)
    for misspelt in (False, True)
    if not (misspelt and (is_name(path) or path in {("resource",), ("plural",), ("doc",), ("actions", "flush", "doc")}))
]


IDS = ["/".join(path) + " misspelt" * misspelt for path, misspelt in CASES]


@pytest.mark.parametrize(("path", "misspelt"), CASES, ids=IDS)
def test_each_key_that_is_wrong_is_named_with_file_and_line(tmp_path: Path, path: Keys, *, misspelt: bool) -> None:
    model, where = spoiled(path, misspelt=misspelt)
    lines: dict[Keys, int] = {}
    file = tmp_path / "tunnel.yaml"
    file.write_text(text(model, lines))
    with pytest.raises(SettingsError) as caught:
        load([tmp_path])
    assert f"{file}:{lines[where]}: " in caught.value.message
    assert where[-1] in caught.value.message


@pytest.mark.parametrize("key", ["resource", "plural", "doc", "attributes"])
def test_a_key_that_is_missing_is_named(tmp_path: Path, key: str) -> None:
    model = {name: value for name, value in TUNNEL.items() if name != key}
    (tmp_path / "tunnel.yaml").write_text(text(model, {}))
    with pytest.raises(SettingsError, match=rf"tunnel.yaml:\d+: .*{'unique' if key == 'attributes' else key}"):
        load([tmp_path])


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("a: 1", "resource: tunnel\nplural: tubes\ndoc: A tube.", ["keyword a"]),
        (
            "resource: tunnel\nplural: tunnels\ndoc: A.\nextends: service",
            "doc: A tube.\nresource: tunnel\nplural: tubes",
            ["two/x.yaml:2", "one/x.yaml:1", "resource tunnel"],
        ),
        (
            "resource: tunnel\nplural: tunnels\nextends: service\ndoc: A.",
            "resource: tube\nextends: service\nplural: tubes\ncollection: tunnels\ndoc: A.",
            ["two/x.yaml:4", "one/x.yaml:2", "/v2.0/tunnels", "tunnel"],
        ),
        (
            "resource: port\nattributes:\n  colour: {doc: Red.}",
            "resource: port\nattributes:\n  shape: {doc: Round.}\n  colour: {doc: Blue.}",
            ["two/x.yaml:4", "one/x.yaml:3", "colour"],
        ),
        ("resource: port\nattributes:\n  name: {doc: N.}", "resource: port", ["one/x.yaml:3", "port.yaml:", "name"]),
        ("resource: port\nattributes:\n  a: {doc: N., column: text}", "resource: port", ["one/x.yaml:3", "column"]),
        ("resource: journal\nplural: journals\ndoc: N.", "resource: port", ["one/x.yaml:1", "resource", "journal"]),
        ("resource: port\nversion: 3", "resource: port", ["one/x.yaml:2", "version"]),
        ("resource: a\nplural: as\ndoc: N.", "resource: port", ["one/x.yaml", "primary_key"]),
        ("resource: a\nplural: as\ndoc: N.\nextends: service_binding", "resource: port", ["x.yaml:4", "service_id"]),
        (
            "resource: a\nplural: as\ndoc: N.\nextends: service\nattributes:\n  b:\n    on_delete: delete",
            "resource: port",
            ["x.yaml:7", "on_delete", "references"],
        ),
        (
            "resource: a\nplural: as\ndoc: N.\nextends: service\nattributes:\n  b:\n    references: prot",
            "resource: port",
            ["x.yaml:7", "references", "'prot'"],
        ),
    ],
)
def test_clashes_name_both_places(tmp_path: Path, first: str, second: str, words: list[str]) -> None:
    for name, content in (("one", first), ("two", second)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.yaml").write_text(content if content != "a: 1" else "resource: t\na: 1")
    with pytest.raises(SettingsError) as caught:
        load([tmp_path / "one", tmp_path / "two"])
    for word in words:
        assert word in caught.value.message


def test_an_extension_is_described_once(tmp_path: Path) -> None:
    described = "extensions:\n  {}: {{name: N, description: D., updated: '2026-01-01T00:00:00-00:00'}}\n"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "extensions.yaml").write_text(described.format("colours"))
    with pytest.raises(SettingsError, match=r"two/extensions.yaml:2: .*colours.*one/extensions.yaml:2"):
        load([tmp_path / "one", tmp_path / "two"])


def test_reserved_are_the_names_of_tables_and_commands(registry: Registry) -> None:
    tables = Tables(registry)
    assert {*tables.metadata.tables, *COMMANDS} <= RESERVED | registry.resources.keys()


def test_a_service_binding_says_little(tmp_path: Path) -> None:
    (tmp_path / "vpn.yaml").write_text("resource: vpn\nplural: vpns\nextends: service\ndoc: A VPN.")
    (tmp_path / "vpn_binding.yaml").write_text(
        "resource: vpn_binding\nplural: vpn_bindings\nextends: service_binding\ndoc: A port in a VPN.\n"
        "attributes:\n  service_id: {references: vpn}\n"
    )
    (tmp_path / "vpn_end.yaml").write_text("resource: vpn_end\nplural: vpn_ends\nextends: interface\ndoc: An end.")
    registry = load([tmp_path])
    binding = registry.resources["vpn_binding"].attributes
    assert (binding["service_id"].references, binding["service_id"].required) == ("vpn", True)
    assert binding["port_id"].references == registry.resources["vpn_end"].attributes["port_id"].references == "port"
    assert binding["port_id"].goes_along and not binding["service_id"].goes_along
    assert [one.name for one in registry.services] == ["vpn", "vpn_binding", "vpn_end"]


def install(folder: Path, name: str, package: str) -> None:
    info = folder / f"{name}_dist-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[portico.models]\n{name} = {package}\n")


def test_installed_packages_are_found_by_their_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.folders() == {}
    (tmp_path / "its_models").mkdir()
    (tmp_path / "its_models" / "tunnel.yaml").write_text(text(TUNNEL, {}))
    install(tmp_path, "tunnels", "its_models")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert packages.folders() == {"tunnels": tmp_path / "its_models"}
    assert load().resources["tunnel"].package == "tunnels"
    assert "tunnel" not in load([]).resources


def test_an_entry_point_without_a_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "gone", "no_such_package")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with pytest.raises(SettingsError, match=re.escape("gone of gone-dist: 'no_such_package' is no installed package")):
        load()
