# SPDX-License-Identifier: Apache-2.0
"""What docs/database.md says of PostgreSQL, tried: its commands as they stand there, and its URLs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portico.client import Client
from portico.errors import Unavailable
from portico.model.load import load
from portico.store import journal, schema
from portico.store.store import Store
from portico.testing.api_process import ApiProcess
from portico.testing.postgresql import PostgresqlServer

GUIDE = Path(__file__).parents[3] / "docs/database.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def server() -> Iterator[PostgresqlServer]:
    """A server as Debian's package makes it: an administrator, and nothing of ours."""
    with PostgresqlServer(administrator="postgres") as server:
        yield server


@pytest.fixture
def shell(server: PostgresqlServer, tmp_path: Path) -> dict[str, str]:
    """The environment of an administrator's shell."""
    path = f"{server.programs}:{Path(sys.executable).parent}:/usr/bin:/bin"
    places = {"PGHOST": str(server.folder), "PGUSER": "postgres", "PORTICO_DATABASE": server.url()}
    return {"PATH": path, "HOME": str(tmp_path), **places}


def run(script: str, shell: dict[str, str]) -> str:
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", script], env=shell, cwd=shell["HOME"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_command_of_the_guide_does_what_it_says(server: PostgresqlServer, shell: dict[str, str]) -> None:
    make, upgrade, dump, restore = BLOCKS
    run(make, shell)
    assert f"schema {schema.HEAD}, this program's is {schema.HEAD}" in run(upgrade, shell)
    kept, later = Store(server.url(), load()), "later"
    for name in ("kept", later):
        if name == later:
            run(dump, shell)
        with kept.write() as tx:
            tx.insert("network", {"id": name, "name": name, "project_id": "red"})
    kept.close()
    run(restore, shell)
    restored = Store(server.url("portico_restored"), load())
    schema.ensure(restored)
    with restored.read() as tx:
        assert [row["name"] for row in tx.find("network")] == ["kept"]
        assert journal.newest(tx) == 1
    with restored.write() as tx:
        assert tx.revision == 2
    restored.close()


def test_a_password_is_read_from_the_file_that_the_url_names_and_shown_nowhere(
    server: PostgresqlServer, shell: dict[str, str], tmp_path: Path
) -> None:
    run(BLOCKS[0], shell)
    secret = "a-b-c-1-2-3"
    (server.folder / "data/pg_hba.conf").write_text("local all portico scram-sha-256\nlocal all all trust\n")
    run(f"""psql -q -d postgres -c "ALTER ROLE portico PASSWORD '{secret}'" -c 'SELECT pg_reload_conf()'""", shell)
    passfile = tmp_path / "pgpass"
    url = f"{server.url()}&passfile={passfile}"
    refused = Store(url, load())
    with pytest.raises(Unavailable, match="password"):
        schema.ensure(refused)
    refused.close()
    passfile.write_text(f"*:*:portico:portico:{secret}\n")
    passfile.chmod(0o600)
    with ApiProcess(tmp_path / "api", url) as api, Client(api.url) as client:
        assert client.create("networks", {"name": "blue"})["name"] == "blue"
        assert secret not in api.log.read_text()
        assert secret not in run("ps -eo args", shell)
    checked = run("portico db check", {**shell, "PORTICO_DATABASE": server.url().replace("@", f":{secret}@")})
    assert secret not in checked and "***" in checked


def test_of_several_hosts_the_one_that_takes_writes_is_used(
    server: PostgresqlServer, shell: dict[str, str], tmp_path: Path
) -> None:
    run(BLOCKS[0], shell)
    with PostgresqlServer(administrator="postgres") as standby:
        run(BLOCKS[0], {**shell, "PGHOST": str(standby.folder)})
        # As a standby, it takes no writes.
        run("psql -q -d postgres -c 'ALTER SYSTEM SET default_transaction_read_only = on' -c 'SELECT pg_reload_conf()'",
            {**shell, "PGHOST": str(standby.folder)})  # fmt: skip
        hosts = "&".join(f"host={folder}:5432" for folder in (tmp_path / "gone", standby.folder, server.folder))
        url = f"postgresql://portico@/portico?{hosts}&target_session_attrs=read-write"
        with ApiProcess(tmp_path / "api", url) as api, Client(api.url) as client:
            made = client.create("networks", {"name": "blue"})
    store = Store(server.url(), load())
    with store.read() as tx:
        assert tx.get("network", made["id"]) is not None
    store.close()
