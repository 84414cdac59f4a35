# SPDX-License-Identifier: Apache-2.0
"""The few kernel calls of a lab that Python 3.11 has no function for.

Sources: unshare(2), setns(2), mount(2), namespaces(7), from Linux's uapi headers `sched.h` and `mount.h`.

Imports only the standard library: the holder process of a lab host runs this file's code without Portico installed.
"""

from __future__ import annotations

import ctypes
import os

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces, or with `CLONE_FS` a root and working directory of its own."""
    _check(_libc().unshare(flags), f"unshare(0x{flags:x})")


def setns(pidfd: int, flags: int) -> None:
    """Move the calling thread into the namespaces `flags` of the process that `pidfd` names (Linux 5.8).

    With `CLONE_NEWPID` only the thread's later children are moved, and the thread can start no more threads.
    """
    _check(_libc().setns(pidfd, flags), f"setns(0x{flags:x})")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount `source` of file system type `kind` on `target`."""
    arguments = [text.encode() or None for text in (source, target, kind)]
    result = _libc().mount(*arguments, ctypes.c_ulong(flags), data.encode() or None)
    _check(result, f"mount {kind or source} on {target}")
