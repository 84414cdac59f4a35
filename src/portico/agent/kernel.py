# SPDX-License-Identifier: Apache-2.0
"""Network namespaces and sysctls.

A network namespace belongs to a thread: what a thread opens (sockets, files under /proc/sys/net) and the processes it
starts are of the namespace that it is in. Sources: network_namespaces(7), setns(2), ip-netns(8).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

NETNS_FOLDER = Path("/run/netns")

_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_MS_REC = 16384
_MS_SHARED = 1 << 20
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


def open_current() -> int:
    """Return a descriptor of the calling thread's network namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def open_named(name: str) -> int:
    """Return a descriptor of the network namespace `name`.

    Raises:
        FileNotFoundError: there is none; a file without a namespace, as a crash may leave it, counts as none.
    """
    path = NETNS_FOLDER / name
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if os.fstat(descriptor).st_dev != Path("/proc/self/ns/net").stat().st_dev:
        os.close(descriptor)
        raise FileNotFoundError(2, "a file without a network namespace", str(path))
    return descriptor


def enter(descriptor: int) -> None:
    """Move the calling thread into a network namespace."""
    _call("setns", descriptor, _CLONE_NEWNET)


def within(descriptor: int, action: Callable[[], T]) -> T:
    """Run `action` in a network namespace, in a thread of its own; return what it returns or raise what it raises."""

    def enter_and_act() -> T:
        enter(descriptor)
        return action()

    return _in_thread(enter_and_act)


@contextmanager
def visit(descriptor: int, home: int) -> Iterator[None]:
    """Have the calling thread in a network namespace meanwhile, whose descriptor is closed; `home` is its own."""
    try:
        enter(descriptor)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(descriptor)


def apart(action: Callable[[], T]) -> T:
    """Run `action` as `within`, in a new network namespace that nothing else is in and that ends with it."""

    def leave_and_act() -> T:
        _call("unshare", _CLONE_NEWNET)
        return action()

    return _in_thread(leave_and_act)


def ensure_named(name: str) -> int:
    """Make the network namespace `name` unless it is there, and return a descriptor of it.

    Done as `ip netns add` does it, so that `ip netns` shows it.
    """
    try:
        return open_named(name)
    except FileNotFoundError:
        _share_folder()
    path = NETNS_FOLDER / name
    path.touch(mode=0o444)

    def make() -> int:
        _call("unshare", _CLONE_NEWNET)
        _call("mount", b"/proc/thread-self/ns/net", str(path).encode(), b"none", _MS_BIND, None)
        return open_current()

    return _in_thread(make)


def remove_named(name: str) -> None:
    """Remove the network namespace `name` with all that is in it; no error if there is none.

    Links in it are gone when the kernel has cleaned up, some milliseconds later, and when no process is in it.
    """
    path = NETNS_FOLDER / name
    if path.exists():
        _libc.umount2(str(path).encode(), _MNT_DETACH)
        path.unlink(missing_ok=True)


def names(prefix: str) -> list[str]:
    """Return the names of network namespaces that begin with `prefix`."""
    if not NETNS_FOLDER.is_dir():
        return []
    return sorted(path.name for path in NETNS_FOLDER.iterdir() if path.name.startswith(prefix))


def sysctl(path: str, value: str) -> None:
    """Set /proc/sys/net/`path` of the calling thread's network namespace.

    Raises:
        FileNotFoundError: the kernel, or a module that is not loaded, lacks it.
    """
    Path("/proc/sys/net", path).write_text(value)


def load_module(name: str) -> None:
    """Load a kernel module; silent when that does not work, for the kernel may have it built in."""
    try:
        subprocess.run(["modprobe", "-q", name], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        return


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _in_thread(action: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(action())
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _share_folder() -> None:
    """Make the folder a shared mount, so that a namespace removed in one mount namespace goes from all of them."""
    NETNS_FOLDER.mkdir(parents=True, exist_ok=True)
    folder = str(NETNS_FOLDER).encode()
    if _libc.mount(b"none", folder, b"none", _MS_SHARED | _MS_REC, None) == 0:
        return
    _call("mount", folder, folder, b"none", _MS_BIND | _MS_REC, None)
    _call("mount", b"none", folder, b"none", _MS_SHARED | _MS_REC, None)
