# SPDX-License-Identifier: Apache-2.0
"""Tables of other packages' resources follow their models, additions alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from portico.errors import Conflict, Unavailable
from portico.model.load import load
from portico.store import extend, schema
from portico.store.store import Store
from portico.testing.postgresql import PostgresqlServer

MODEL = """
resource: tunnel
plural: tunnels
extends: service
doc: A tunnel.
version: {version}
attributes:
  port_id: {{references: port, on_delete: delete, doc: Its port.}}
  other_id: {{references: port, doc: The other one.}}
{more}
"""
MORE = "  ttl: {allow_post: true, default: 64, column: integer, doc: Hops.}\n  net_id: {references: network, doc: N.}"
Open = Callable[..., Store]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with PostgresqlServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/portico.db"
        return
    server: PostgresqlServer = request.getfixturevalue("server")
    server.create("packages")
    yield server.url("packages")


@pytest.fixture
def opened(url: str, tmp_path: Path) -> Iterator[Open]:
    """Opens the database with a version of the model, or without any."""
    stores = []

    def make(version: int = 1, more: str = "", text: str = MODEL) -> Store:
        folder = tmp_path / "tunnels"
        folder.mkdir(exist_ok=True)
        (folder / "tunnel.yaml").write_text(text.format(version=version, more=more))
        stores.append(Store(url, load([folder] if version else [])))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def test_a_table_is_made_extended_and_dropped_by_command(opened: Open) -> None:
    schema.ensure(opened(0))
    first = opened(1)
    assert [str(item)[:18] for item in extend.findings(first)] == ["it has no table ye"]
    schema.ensure(first)
    assert [str(item) for item in extend.findings(first)] == ["version 1"]
    with first.write() as tx:
        tx.insert("port", {"id": "p1", "project_id": "red"})
        tx.insert("tunnel", {"id": "t1", "port_id": "p1", "project_id": "red", "status": "DOWN"})

    second = opened(2, MORE)
    assert [item.lacks for item in extend.findings(second)] == [("ttl", "net_id")]
    schema.ensure(second)
    schema.ensure(second)
    with second.read() as tx:
        assert [(row["id"], row["ttl"], row["net_id"]) for row in tx.find("tunnel")] == [("t1", 64, None)]
    with second.engine.connect() as connection:
        indexes = {item["name"] for item in sa.inspect(connection).get_indexes("tunnel")}
    assert {"ix_tunnel_port_id", "ix_tunnel_net_id"} <= indexes

    gone = opened(0)
    schema.ensure(gone)
    assert [(item.resource, item.is_orphan) for item in extend.findings(gone)] == [("tunnel", True)]
    with pytest.raises(Unavailable, match=r"tunnel: 1 objects .*--force"):
        extend.drop(gone, "tunnel", force=False)
    assert extend.drop(gone, "tunnel", force=True) == 1
    assert extend.findings(gone) == []
    with pytest.raises(Unavailable, match="'tunnel'"):
        extend.drop(gone, "tunnel", force=True)
    schema.ensure(opened(2, MORE))


@pytest.mark.parametrize(
    ("version", "more", "text", "words"),
    [
        (1, MORE, MODEL, ["attribute ttl", "version"]),
        (0, "", "", []),
        (2, "", MODEL.replace("  other_id: {{references: port, doc: The other one.}}\n", ""), ["other_id", "db drop"]),
        (2, "  kind: {column: text, doc: K.}", MODEL, ["kind has become text, the table has string(8)", "db drop"]),
        (2, "unique: [[name]]", MODEL, ["`unique`", "db drop"]),
    ],
)
def test_what_is_no_addition_is_refused(tmp_path: Path, version: int, more: str, text: str, words: list[str]) -> None:
    def store_of(version: int, more: str, text: str) -> Store:
        (tmp_path / "tunnels" / "tunnel.yaml").write_text(text.format(version=version, more=more))
        return Store(f"sqlite:///{tmp_path}/portico.db", load([tmp_path / "tunnels"]))

    (tmp_path / "tunnels").mkdir()
    kind = "  kind: {column: string(8), doc: K.}"
    first = store_of(1, kind, MODEL)
    schema.ensure(first)
    first.close()
    if not words:  # an older package on a newer table
        newer = store_of(2, f"{kind}\n{MORE}", MODEL)
        schema.ensure(newer)
        newer.close()
        version, more, text, words = 1, kind, MODEL, ["version 2", "newer one"]
    elif more.startswith("unique") or "kind" not in more:
        more = f"{kind}\n{more}"
    changed = store_of(version, more, text)
    with pytest.raises(Unavailable) as caught:
        schema.ensure(changed)
    for word in ["resource tunnel", *words]:
        assert word in caught.value.message
    changed.close()


def test_what_is_referenced_is_in_the_way_or_takes_along(tmp_path: Path) -> None:
    (tmp_path / "tunnels").mkdir()
    (tmp_path / "tunnels" / "tunnel.yaml").write_text(MODEL.format(version=1, more=""))
    store = Store(f"sqlite:///{tmp_path}/portico.db", load([tmp_path / "tunnels"]))
    schema.ensure(store)
    with store.write() as tx:
        for name in ("p1", "p2"):
            tx.insert("port", {"id": name, "project_id": "red"})
        tx.insert("tunnel", {"id": "t1", "port_id": "p1", "other_id": "p2", "project_id": "red"})
    with (
        pytest.raises(Conflict, match="port p2 is in use: other_id of tunnel t1 names it") as caught,
        store.write() as tx,
    ):
        tx.delete("port", {"id": "p2", "project_id": "red"})
    assert caught.value.type == "PortInUse"
    with store.write() as tx:
        tx.delete("port", {"id": "p1", "project_id": "red"})
        assert tx.used("tunnel", "red") == 0
        assert [change["resource"] for change in tx.changes] == ["tunnel", "port"]
    store.close()
