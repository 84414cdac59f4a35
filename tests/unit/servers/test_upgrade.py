# SPDX-License-Identifier: Apache-2.0
"""A database that the first release wrote, upgraded by this one: every object is there, and the API goes on with it.

`first_release.json` holds the rows that the first release (schema 0001) wrote when it was asked for two networks,
subnets, pools, groups, ports, tags, a quota and an agent, and what its API answered about them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from portico.client import Client
from portico.model.load import load
from portico.model.resource import Registry
from portico.store import schema
from portico.store.store import Store
from portico.testing.api_process import ApiProcess
from portico.testing.postgresql import PostgresqlServer

FIRST = json.loads(Path(__file__).with_name("first_release.json").read_text())
FIRST_VERSION = "0001"
COLLECTIONS = [name for name in FIRST["answers"] if name not in {"quota", "availability_zones"}]
# What the clock decides: an agent that has not reported for long is dead.
OF_THE_MOMENT = {"alive", "availability_zones"}
# What objects of then lack on purpose and new ones here have.
NULLABLE = {"ipv6_ra_mode", "ipv6_address_mode"}
DIE_AT = """
import os, sys
import sqlalchemy as sa
from portico.model.load import load
from portico.store import schema
from portico.store.store import Store

left = int(sys.argv[2])

def count(*_):
    global left
    left -= 1
    if left == 0:
        os._exit(9)

store = Store(sys.argv[1], load())
sa.event.listen(store.engine, "before_cursor_execute", count)
schema.upgrade(store)
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with PostgresqlServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, registry: Registry) -> str:
    """The URL of a database that the first release wrote."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/portico.db"
    else:
        server: PostgresqlServer = request.getfixturevalue("server")
        server.create(name := f"t{uuid.uuid4().hex}")
        url = server.url(name)
    store = Store(url, registry)
    write_first(store)
    store.close()
    return url


def write_first(store: Store) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with store.engine.connect().execution_options(portico_write=True) as connection, connection.begin():
        config.attributes |= {"connection": connection, "metadata": store.tables.metadata}
        command.upgrade(config, FIRST_VERSION)
        old = sa.MetaData()
        old.reflect(connection)
        connection.execute(old.tables["revision"].delete())
        for name, rows in FIRST["tables"].items():
            for row in rows:
                connection.execute(old.tables[name].insert().values({old.tables[name].c[k]: v for k, v in row.items()}))


def portico(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "portico.cli", "--config", os.devnull, *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def contents(url: str, registry: Registry) -> dict[str, Any]:
    """Return all rows of all tables, and the tables' columns."""
    store, found = Store(url, registry), {}
    tables = sa.MetaData()
    with store.engine.connect() as connection:
        tables.reflect(connection)
        for table in tables.sorted_tables:
            rows = connection.execute(table.select()).mappings()
            found[table.name] = ([c.name for c in table.columns], sorted(str(dict(row)) for row in rows))
    store.close()
    return found


def test_check_says_what_to_do_and_upgrade_does_it(url: str) -> None:
    before = portico("db", "check", "--database", url)
    assert before.returncode == 1 and "portico db upgrade" in before.stderr, before
    assert f"schema {FIRST_VERSION}, this program's is {schema.HEAD}" in before.stdout
    assert portico("db", "upgrade", "--database", url).returncode == 0
    after = portico("db", "check", "--database", url)
    assert after.returncode == 0 and after.stderr == ""


def test_the_api_shows_what_it_showed_and_goes_on_with_it(url: str, tmp_path: Path) -> None:
    assert portico("db", "upgrade", "--database", url).returncode == 0
    with ApiProcess(tmp_path / "api", url) as api, Client(api.url) as client:
        for collection in COLLECTIONS:
            check_same(client, collection)
        assert client.get_json("/v2.0/quotas/red")["quota"].items() >= FIRST["answers"]["quota"].items()
        check_sharing(client)
        check_bindings(client)
        check_segments(client)
        check_new_objects(client)
        check_journal(client)
        remove_all(client)


def check_same(client: Client, collection: str) -> None:
    """Every attribute of then has its value of then."""
    now = {row.get("id", row.get("name")): row for row in client.list(collection)}
    then = {row.get("id", row.get("name")): row for row in FIRST["answers"][collection]}
    assert now.keys() == then.keys()
    for key, row in then.items():
        assert as_then(now[key], row) == {name: value for name, value in row.items() if name not in OF_THE_MOMENT}


def as_then(now: Any, then: Any) -> Any:
    """Return what is shown now without what has been added, and as it was written then."""
    if isinstance(then, dict):
        return {name: as_then(now[name], value) for name, value in then.items() if name not in OF_THE_MOMENT}
    if isinstance(then, list) and len(then) == len(now):
        return [as_then(new, old) for new, old in zip(now, then, strict=True)]
    # Lengths of a pool's prefixes have become text, as Neutron's are.
    return int(now) if isinstance(then, int) and isinstance(now, str) and now.isdecimal() else now


def check_sharing(client: Client) -> None:
    policies = client.list("rbac-policies")
    found = {(row["object_type"], row["object_id"], row["action"], row["target_tenant"]) for row in policies}
    wanted = {
        (kind, row["id"], "access_as_shared", "*")
        for kind in ("network", "subnetpool")
        for row in FIRST["answers"][f"{kind}s"]
        if row["shared"]
    }
    assert found == wanted and len(policies) == len(wanted) == 2


def check_bindings(client: Client) -> None:
    [port] = client.list("ports", name="bound")
    [binding] = client.get_json(f"/v2.0/ports/{port['id']}/bindings")["bindings"]
    assert (binding["host"], binding["status"], binding["vif_type"]) == ("h1", "ACTIVE", port["binding:vif_type"])
    assert client.get_json(f"/portico/v1/ports/{port['id']}/status")["reason"] == "tap tap-bound does not exist"


def check_segments(client: Client) -> None:
    networks = {row["id"] for row in client.list("networks")}
    assert {row["network_id"] for row in client.list("segments")} == networks


def check_new_objects(client: Client) -> None:
    """New objects look like the old ones, and take nothing that they have."""
    network = next(iter(client.list("networks", name="own")))["id"]
    empty = set()
    for collection in ("networks", "subnets", "ports", "security_groups"):
        old = client.list(collection, project_id="red")
        made = make(client, collection, network)
        filled = {name for name, value in made.items() if value is not None} - NULLABLE
        empty |= {f"{collection}: {name}" for row in old for name in filled if row[name] is None}
    assert empty == set()
    addresses = [ip["ip_address"] for port in client.list("ports") for ip in port["fixed_ips"]]
    assert len(addresses) == len(set(addresses))
    [fixed] = client.list("ports", name="fixed one")
    assert client.update("ports", fixed["id"], {"name": "changed"}, fixed["revision_number"])["name"] == "changed"


def make(client: Client, collection: str, network: str) -> dict[str, Any]:
    body: dict[str, Any] = {"project_id": "red"}
    match collection:
        case "subnets":
            body |= {"network_id": network, "ip_version": 6, "cidr": "fd00:9::/64", "ipv6_ra_mode": "slaac"}
            body |= {"ipv6_address_mode": "slaac"}
        case "ports":
            body |= {"network_id": network}
        case "security_groups":
            body |= {"name": "new"}
    return client.create(collection, body)


def check_journal(client: Client) -> None:
    """Who has followed so far goes on from there."""
    last = max(row["revision"] for row in FIRST["tables"]["journal"])
    for entry in client.stream("/portico/v1/watch", since=last):
        assert entry["revision"] == last + 1
        return


def remove_all(client: Client) -> None:
    for port in client.list("ports"):
        if port["device_owner"] != "network:dhcp":
            client.delete("ports", port["id"])
    for collection in ("subnets", "networks", "subnetpools"):
        for row in client.list(collection):
            client.delete(collection, row["id"])
    assert client.list("rbac-policies") == client.list("ports") == client.list("segments") == []


def test_servers_that_start_together_on_an_old_database_upgrade_it_once(
    url: str, tmp_path: Path, registry: Registry
) -> None:
    with ExitStack() as stack:
        servers = [ApiProcess(tmp_path / f"{number}", url) for number in range(2)]
        starts = [threading.Thread(target=stack.enter_context, args=[server]) for server in servers]
        for thread in starts:
            thread.start()
        for thread in starts:
            thread.join()
        for server in servers:
            with Client(server.url) as client:
                assert len(client.list("rbac-policies")) == 2
                assert len(client.list("segments")) == len(FIRST["tables"]["network"])
    assert contents(url, registry)["alembic_version"][1] == [f"{{'version_num': '{schema.HEAD}'}}"]


def test_an_upgrade_that_is_killed_leaves_the_old_database(url: str, registry: Registry) -> None:
    before, made = contents(url, registry), 0
    for number in (5, 12, 20, 28):
        done = subprocess.run([sys.executable, "-c", DIE_AT, url, str(number)], capture_output=True, timeout=60)
        made += done.returncode == 9
        assert contents(url, registry) == before
    assert made == 4
    assert portico("db", "upgrade", "--database", url).returncode == 0
