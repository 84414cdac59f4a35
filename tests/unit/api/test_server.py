# SPDX-License-Identifier: Apache-2.0
"""What the server listens on."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from portico.api.server import listen
from portico.errors import SettingsError


def test_a_socket_that_another_process_serves_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    (other,) = listen((f"unix:{path}",))
    with other, pytest.raises(SettingsError, match=r"api\.sock.*another process serves there"):
        listen((f"unix:{path}",))


def test_a_socket_that_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    (sock,) = listen((f"unix:{path}",))
    with sock, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(SettingsError, match="in use"):
        listen((f"unix:{path}",))
    assert path.read_text() == "precious"


def test_only_the_owner_may_open_the_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    (sock,) = listen((f"unix:{path}",))
    with sock:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
