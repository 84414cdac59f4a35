# SPDX-License-Identifier: Apache-2.0
"""libnftables by ctypes: nft commands without starting a process. Source: libnftables(3)."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable

from portico.agent import kernel


class NftError(Exception):
    """nft refused the commands; nothing of them is in force. The message is nft's own."""


class Nft:
    """An nft context of the network namespace that the calling thread is in; to be used by that thread alone.

    Raises:
        OSError: the library is not there (package libnftables1).
    """

    def __init__(self) -> None:
        library = ctypes.CDLL("libnftables.so.1")
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
        context = library.nft_ctx_new(0)
        if not context:
            raise MemoryError("nft_ctx_new")
        self._context = ctypes.c_void_p(context)
        self._library = library
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> str:
        """Run `commands` as one transaction and return what they print.

        Raises:
            NftError: they were refused, whole.
        """
        code = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        errors = self._library.nft_ctx_get_error_buffer(self._context) or b""
        output = self._library.nft_ctx_get_output_buffer(self._context) or b""
        if code != 0:
            raise NftError(errors.decode(errors="replace").strip().partition("\n")[0] or "refused without a word")
        return bytes(output).decode()

    def check(self, commands: str) -> None:
        """Check `commands` against the kernel without putting them in force (`nft -c`).

        Raises:
            NftError: they would be refused.
        """
        self._library.nft_ctx_set_dry_run(self._context, ctypes.c_bool(True))
        try:
            self.run(commands)
        finally:
            self._library.nft_ctx_set_dry_run(self._context, ctypes.c_bool(False))

    def tables(self, names: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Return what nft lists of each table (family, name) that is there, by its family."""
        found = {}
        for family, name in names:
            with contextlib.suppress(NftError):
                found[family] = self.run(f"list table {family} {name}")
        return found

    def tables_after(self, commands: str, names: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Return what `tables` gives where nothing but `commands` has been run.

        Raises:
            NftError: they were refused.
        """

        def run() -> dict[str, str]:
            nft = Nft()
            try:
                nft.run(commands)
                return nft.tables(names)
            finally:
                nft.close()

        return kernel.apart(run)

    def close(self) -> None:
        """Free the context."""
        self._library.nft_ctx_free(self._context)
