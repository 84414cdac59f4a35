# SPDX-License-Identifier: Apache-2.0
"""The audit log as a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portico.errors import SettingsError
from portico.store.written import Edit
from portico.telemetry.audit import AuditLog

EDIT = Edit("network", "n", "update", {"name": "a"}, {"name": "b"})


def test_a_file_that_was_renamed_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = AuditLog(path)
    log.write(1, [EDIT])
    path.rename(tmp_path / "audit.log.1")
    log.write(2, [EDIT])
    assert [json.loads(item.read_text())["revision"] for item in (tmp_path / "audit.log.1", path)] == [1, 2]
    path.unlink()
    log.write(3, [EDIT])
    assert json.loads(path.read_text())["revision"] == 3
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_change_that_is_not_certain_is_told_as_such(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.write(1, [EDIT])
    log.write(2, [EDIT], certain=False)
    found = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [line.get("certain") for line in found] == [None, False]


def test_edits_of_one_object_become_one_line(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.write(
        1,
        [
            EDIT,
            Edit("network", "n", "update", {"name": "b", "mtu": 1}, {"name": "c", "mtu": 2}),
            Edit("port", "p", "create", {}, {"name": "x"}),
            Edit("port", "p", "update", {"name": "x"}, {"name": "y"}),
            Edit("port", "q", "create", {}, {}),
            Edit("port", "q", "delete", {}, {}),
            Edit("subnet", "s", "update", {"name": "a"}, {"name": "b"}),
            Edit("subnet", "s", "delete", {"name": "b", "cidr": "c"}, {}),
        ],
    )
    found = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [(line["id"], line["verb"], line["before"], line["after"]) for line in found] == [
        ("n", "update", {"name": "a", "mtu": 1}, {"name": "c", "mtu": 2}),
        ("p", "create", {}, {"name": "y"}),
        ("s", "delete", {"name": "a", "cidr": "c"}, {}),
    ]


def test_a_full_disk_stops_no_write(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    AuditLog(Path("/dev/full")).write(5, [EDIT])
    [record] = caplog.records
    assert "/dev/full: No space left on device" in record.getMessage() and '"revision":5' in record.getMessage()


def test_a_file_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"log\.audit_file = '.*/missing/audit\.log': cannot be written"):
        AuditLog(tmp_path / "missing" / "audit.log")
