# SPDX-License-Identifier: Apache-2.0
"""`portico db` on a file that does not exist, or is newer, or a copy that cannot be made."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from portico.cli.main import main
from portico.store import schema


def db(verb: str, path: Path, *words: object) -> int:
    return main(["db", verb, *map(str, words), "--database", f"sqlite:///{path}"])


def test_check_of_a_database_that_does_not_exist_makes_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert db("check", tmp_path / "new/portico.db") == 1
    out, err = capsys.readouterr()
    assert "schema absent" in out and "portico db upgrade" in err
    assert list(tmp_path.iterdir()) == []


def test_check_and_upgrade_of_a_newer_database_refuse_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "portico.db"
    assert db("upgrade", path) == 0
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert db("check", path) == 1
    assert "backup" in capsys.readouterr().err
    assert db("upgrade", path) == 1
    assert f"9999, newer than this Portico's {schema.HEAD}" in capsys.readouterr().err


def test_a_backup_is_whole_or_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert db("backup", tmp_path / "none.db", tmp_path / "copy.db") == 1
    assert "there is none" in capsys.readouterr().err
    assert db("upgrade", tmp_path / "portico.db") == 0
    assert db("backup", tmp_path / "portico.db", tmp_path / "no folder/copy.db") == 1
    assert "no folder/copy.db: " in capsys.readouterr().err
    assert db("backup", tmp_path / "portico.db", tmp_path / "copy.db") == 0
    assert db("backup", tmp_path / "portico.db", tmp_path / "copy.db") == 1
    assert db("check", tmp_path / "copy.db") == 0
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy.db"]


def faults_after(path: Path, script: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with sqlite3.connect(path) as connection:
        connection.executescript(script)
    connection.close()
    capsys.readouterr()
    assert db("check", path) == 1
    *found, advice = capsys.readouterr().err.splitlines()
    assert advice == "damaged: go back to a backup"
    return found


def test_check_names_what_is_wrong_with_a_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "portico.db"
    assert db("upgrade", path) == 0
    found = faults_after(path, "DELETE FROM revision", capsys)
    assert found == ["fault: table revision has 0 rows instead of one"]
    found = faults_after(path, "ALTER TABLE network DROP COLUMN mtu; DROP TABLE subnet", capsys)
    assert sorted(found) == ["fault: column network.mtu is missing", "fault: table subnet is missing"]
    script = "CREATE TABLE other (a CHECK (a > 0)); PRAGMA ignore_check_constraints = on; INSERT INTO other VALUES (0)"
    assert faults_after(path, script, capsys) == ["fault: CHECK constraint failed in other"]


def test_another_programs_database_gets_no_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE port (number)")
    connection.close()
    assert db("upgrade", path) == 1
    assert "other.db has a table port and no schema version: it is another program's" in capsys.readouterr().err
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("port",)]
    connection.close()
