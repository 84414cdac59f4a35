# SPDX-License-Identifier: Apache-2.0
"""The file of users."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.errors import SettingsError
from portico.identity.htpasswd import Htpasswd, read

from .site import line_of

ALICE = line_of("alice", "a")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text(ALICE)
    return path


def test_comments_and_empty_lines_are_no_users(file: Path) -> None:
    file.write_text(f"# who may\n\n{ALICE}{line_of('bob', 'b')}")
    assert set(read(file).hashes) == {"alice", "bob"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bob", "line 2: is not NAME:HASH"),
        (":" + ALICE.partition(":")[2].strip(), "line 2: is not NAME:HASH"),
        ("bob:$apr1$aaaaaaaa$aaaaaaaaaaaaaaaaaaaaaa", "line 2: the hash of user 'bob' is not bcrypt's"),
        ("bob:secret", "line 2: the hash of user 'bob' is not bcrypt's"),
        ("bob:" + ALICE.strip().replace("alice:$2y$04", "$2y$31"), "cost 31; it must be 4 to 15"),
        ("b\tb:" + ALICE.strip().partition(":")[2], "printable text"),
        ("b" * 256 + ":" + ALICE.strip().partition(":")[2], "at most 255 characters"),
        (ALICE.strip(), "line 2: user 'alice' has another line already"),
    ],
)
def test_a_wrong_line_is_named_by_its_number_and_its_secret_is_not_told(file: Path, line: str, words: str) -> None:
    file.write_text(ALICE + line + "\n")
    with pytest.raises(SettingsError) as caught:
        read(file)
    assert words in caught.value.message
    assert "secret" not in caught.value.message and "$2y$" not in caught.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"http_basic\.file: .*/absent: cannot be read: No such file"):
        read(tmp_path / "absent")


def test_a_change_is_read_and_a_wrong_one_leaves_the_users(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    users = Htpasswd(file)
    assert not users.renew()
    file.write_text(ALICE + line_of("bob", "b"))
    assert users.renew() and set(users.users.hashes) == {"alice", "bob"}
    file.write_text("carol:secret\n")
    assert not users.renew() and set(users.users.hashes) == {"alice", "bob"}
    assert "line 1" in caplog.text and "secret" not in caplog.text
    file.unlink()
    assert not users.renew() and set(users.users.hashes) == {"alice", "bob"}
