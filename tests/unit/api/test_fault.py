# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import importlib
import inspect
import logging
import pkgutil
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import portico
from portico import errors
from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.contract import Binding, Capabilities, Change
from portico.model.resource import Registry
from portico.rules.context import Limits
from portico.store import schema, sqlite
from portico.store.store import Store

from .asker import Asker
from .conftest import MakeApi

FOLDERS = ("api", "rules", "model", "backends", "broker")


class Broken:
    """A backend with a fault in it."""

    def describe(self) -> Capabilities:
        return Capabilities(name="broken", network_types=("local",), features=frozenset())

    def admit(self, _want: object, _change: Change) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    def bind(self, _port: Any, _host: str) -> Binding:
        return Binding("tap", {})

    def sync(self, _want: object, _dirty: object) -> tuple[()]:
        return ()


def test_what_nobody_foresaw_is_told_by_an_id_that_the_log_knows(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    hosts = HostStates()
    limits = Limits(quotas={}, mtu=1500, mac_base="fa:16:3e", dns_domain="", default_project="red")
    broken = Api(Service(store=store, page_max=10), Broker(store, hosts, [Broken()]), hosts, limits)
    with Asker(make_app(broken)) as api, caplog.at_level(logging.ERROR, "portico.api.fault"):
        answer = api.try_create("networks", name="x")
        assert answer.error == (500, "HTTPInternalServerError")
        assert "ZeroDivision" not in answer.message and "nobody" not in answer.message
        assert answer.headers["x-openstack-request-id"] in caplog.text and "nobody foresaw this" in caplog.text
        assert api.list("networks") == []


def test_a_database_that_another_process_keeps_locked_is_unavailable(
    tmp_path: Path, registry: Registry, make_api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LOCK_TIMEOUT_S", 0.1)
    store = Store(f"sqlite:///{tmp_path}/locked.db", registry)
    schema.ensure(store)
    with Asker(make_app(make_api(store))) as api, closing(sqlite3.connect(tmp_path / "locked.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        for answer in (api.try_create("networks"), api.ask("POST", "networks", {"networks": [{}]})):
            assert answer.error == (503, "Unavailable") and "locked" in answer.message
        assert api.list("networks") == []
        other.rollback()
        api.create("networks")
    store.close()


def neutron_statuses() -> Mapping[str, int]:
    """Return the HTTP status of each of neutron-lib's exceptions by name."""
    with warnings.catch_warnings():
        # Its web framework imports a module that Python 3.13 no longer has.
        warnings.simplefilter("ignore", DeprecationWarning)
        faults = importlib.import_module("neutron_lib.api.faults")
        package = importlib.import_module("neutron_lib.exceptions")
    found: dict[str, int] = {}
    modules = [
        importlib.import_module(f"neutron_lib.exceptions.{item.name}")
        for item in pkgutil.iter_modules(package.__path__)
    ]
    for module in (package, *modules):
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, package.NeutronException):
                answers = [answer for base, answer in faults.FAULT_MAP.items() if issubclass(kind, base)]
                if answers:
                    found[name] = answers[0].code
    return found


def raised() -> Iterator[tuple[str, str, int]]:
    """Yield (place, error type, status) of each error whose type stands in the code as a word."""
    root = Path(portico.__file__).parent
    for path in sorted(file for folder in FOLDERS for file in (root / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            kind = getattr(errors, node.func.id, None)
            for keyword in node.keywords:
                if kind and keyword.arg == "type" and isinstance(keyword.value, ast.Constant):
                    yield f"{path.relative_to(root)}:{node.lineno}", str(keyword.value.value), kind.status


def test_error_types_that_neutron_lib_has_go_with_its_status() -> None:
    theirs = neutron_statuses()
    ours = list(raised())
    assert len({name for _, name, _ in ours} & theirs.keys()) > 25
    wrong = [(place, name, status, theirs[name]) for place, name, status in ours if theirs.get(name, status) != status]
    assert wrong == []
