# SPDX-License-Identifier: Apache-2.0
"""libbpf by ctypes: the programs of `programs.c` in the kernel, and what they are told. Source: libbpf's API reference.

`make fast-path` compiles them; a test proves that what is shipped is what the source says.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

OBJECT = Path(__file__).with_name("programs.o")

_ANY = 0
_NUMBER = struct.Struct("=I")
_LAST = 0xFFFFFFFF


class Programs:
    """The programs and their maps, loaded; gone with the process unless a link still has them.

    At first no packet takes the short way: see `arm`.

    Raises:
        OSError: the library is not there (package libbpf1), or the kernel refuses.
    """

    def __init__(self) -> None:
        self._library = library = ctypes.CDLL("libbpf.so.1", use_errno=True)
        library.libbpf_set_print(None)
        library.bpf_object__open_file.restype = ctypes.c_void_p
        library.bpf_object__find_program_by_name.restype = ctypes.c_void_p
        self._object = ctypes.c_void_p(library.bpf_object__open_file(os.fsencode(OBJECT), None))
        if not self._object or library.bpf_object__load(self._object) < 0:
            raise _refused("programs of the fast path")
        self.from_link, self.to_link = self._program(b"from_link"), self._program(b"to_link")
        self._links, self._numbers = self._map(b"links"), self._map(b"generation")
        self._generation = 0
        self.armed = False

    def close(self) -> None:
        """Give up what this process has of them; links that have the programs keep them."""
        self._library.bpf_object__close(self._object)

    def arm(self) -> None:
        """Let packets take the short way. Not before all links that lead to workloads have the programs."""
        self.armed = True
        self.void()

    def void(self) -> None:
        """Have every connection take the long way again, for what decides of it may have changed."""
        if self.armed:
            self._generation = self._generation % _LAST + 1
            self._update(self._numbers, 0, self._generation)

    def disarm(self) -> None:
        """Have all packets take the long way."""
        self.armed = False
        self._update(self._numbers, 0, 0)

    def admit(self, index: int, mtu: int) -> None:
        """Let packets between this link and others that are admitted take the short way.

        Raises:
            OSError: the kernel refuses.
        """
        self._update(self._links, index, mtu)

    def dismiss(self, index: int) -> None:
        """Let them do so no longer; no error if they were not."""
        key = ctypes.create_string_buffer(_NUMBER.pack(index), _NUMBER.size)
        self._library.bpf_map_delete_elem(self._links, key)

    def _update(self, at: int, key: int, value: int) -> None:
        pair = [ctypes.create_string_buffer(_NUMBER.pack(number), _NUMBER.size) for number in (key, value)]
        if self._library.bpf_map_update_elem(at, *pair, ctypes.c_uint64(_ANY)) < 0:
            raise _refused("map of the fast path")

    def _program(self, name: bytes) -> int:
        program = ctypes.c_void_p(self._library.bpf_object__find_program_by_name(self._object, name))
        return int(self._library.bpf_program__fd(program))

    def _map(self, name: bytes) -> int:
        return int(self._library.bpf_object__find_map_fd_by_name(self._object, name))


def lacks() -> str:
    """Return why this host has no fast path; empty if it can have one."""
    try:
        Programs().close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _refused(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
