# SPDX-License-Identifier: Apache-2.0
"""docs/observe.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from portico.api import collection, connection, message, query
from portico.api.app import make_app
from portico.model import check
from portico.settings import fields
from portico.store.store import Store

from .asker import Asker, wait_until
from .conftest import MakeApi

GUIDE = (Path(__file__).parents[3] / "docs/observe.md").read_text()


def test_the_guide_has_every_metric_and_no_other(store: Store, make_api: MakeApi) -> None:
    api = make_api(store)
    with Asker(make_app(api)) as asker:
        asker.network()
        assert asker.ask("PUT", "/portico/v1/hosts/h/status", {"revision": 0, "facts": {"able": ""}}).status == 204
        wait_until(lambda: b"portico_backend_sync_seconds_count" in api.metrics.text())
        families = list(text_string_to_metric_families(api.metrics.text().decode()))
    shown = {
        family.name + "_total" * (family.type == "counter")
        for family in families
        if not family.name.endswith("_created")
    }
    assert set(re.findall(r"^\| `(portico_\w+)` \|", GUIDE, re.MULTILINE)) == shown


def test_settings_of_the_guide_exist() -> None:
    known = {field.name for field in fields()}
    named = set(re.findall(r"`((?:api|log|metrics|rate_limit)\.[a-z_]+)", GUIDE))
    for section, body in re.findall(r"```toml\n\[(\w+)\]\n(.*?)```", GUIDE, re.DOTALL):
        named |= {f"{section}.{line.split(' = ')[0]}" for line in body.splitlines()}
    assert len(named) >= 8 and named <= known, named - known


def test_bounds_of_the_guide_are_those_in_force() -> None:
    rows = dict(re.findall(r"^\| ([^|`]+) \| ([^|]+) \|", GUIDE.partition("## What is refused")[2], re.MULTILINE))
    assert rows["body"] == f"{message.MAX_BODY // 2**20} MiB, whole within {message.BODY_S:g} s"
    assert rows["request line and headers"] == f"{connection.MAX_HEAD // 1024} KiB, within {connection.HEAD_S:g} s"
    assert rows["requests sent ahead on a connection"] == str(connection.MAX_WAITING)
    assert rows["unread answers"] == f"{connection.UNREAD_S:g} s without reading"
    assert rows["connections over TCP"] == f"`api.connections_max`, {connection.Connection.connections_max}"
    assert rows["items of a list or object in a body"] == f"{check.MAX_ITEMS:,}"
    assert rows["objects in a bulk create"] == str(collection.MAX_BULK)
    assert rows["values of a filter"].startswith(f"{query.MAX_FILTER_VALUES}; {query.MAX_CONDITIONS} where")
