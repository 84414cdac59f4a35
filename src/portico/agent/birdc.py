# SPDX-License-Identifier: Apache-2.0
"""BIRD's control socket.

A reply is lines that begin with a code of four digits, and a hyphen unless it is the last one, or with a space when the
code is as before. Source: BIRD Programmer's Documentation, "Command line interface".
"""

from __future__ import annotations

import errno
import re
import socket
from pathlib import Path

ANSWER_MAX_S = 1.0
_LAST = re.compile(rb"^\d{4} .*\n", re.MULTILINE)
_CODE = re.compile(r"^(?:\d{4}[- ]| )", re.MULTILINE)


def ask(path: Path, command: str) -> str:
    """Give BIRD a command; return its answer without the codes.

    Raises:
        OSError: nobody listens there, no answer in `ANSWER_MAX_S`, or BIRD's refusal in its words (EINVAL).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_MAX_S)
        connection.connect(str(path))
        _reply(connection)
        connection.sendall(f"{command}\n".encode())
        code, words = _reply(connection)
    if code >= 8000:
        raise OSError(errno.EINVAL, words)
    return words


def _reply(connection: socket.socket) -> tuple[int, str]:
    """Return the code of the last line, and the text of all."""
    data = b""
    while not (last := _LAST.search(data)):
        part = connection.recv(1 << 16)
        if not part:
            raise ConnectionResetError(errno.ECONNRESET, "BIRD has hung up")
        data += part
    return int(last[0][:4]), _CODE.sub("", data[: last.end()].decode(errors="replace")).strip()
