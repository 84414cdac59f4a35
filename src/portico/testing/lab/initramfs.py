# SPDX-License-Identifier: Apache-2.0
"""Kernels of this machine, and initial RAM file systems for them made of busybox and a few kernel modules.

Sources: Linux's Documentation/driver-api/early-userspace/buffer-format.rst (cpio "newc") and
Documentation/arch/x86/boot.rst (where a bzImage holds its payload), modules.dep(5).
"""

from __future__ import annotations

import lzma
import re
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from portico.testing.lab.image import BUSYBOX, ETC, applets


@dataclass(frozen=True, slots=True)
class Kernel:
    """An installed kernel: its image and the directory of its modules."""

    image: Path
    modules: Path

    def bootable(self) -> bytes:
        """Return what QEMU starts fastest: the ELF image inside (PVH entry), or all if it is not packed so.

        Without KVM unpacking the kernel takes the guest 3 s, and Python 0.8 s.
        """
        content = self.image.read_bytes()
        setup_sectors = content[0x1F1]
        offset, length = struct.unpack_from("<II", content, 0x248)
        start = (setup_sectors + 1) * 512 + offset
        payload = content[start : start + length]
        if payload.startswith(b"\xfd7zXZ\x00"):
            return lzma.LZMADecompressor().decompress(payload)
        return content

    def module_files(self, names: Iterable[str]) -> list[Path]:
        """Return the files of the modules `names` and of all that they need, in the order of loading.

        Modules that are built into the kernel are left out.

        Raises:
            FileNotFoundError: the kernel has no such module; names both.
        """
        needs = {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            path, _, rest = line.partition(":")
            needs[path] = rest.split()
        paths = {_module_name(path): path for path in needs}
        built_in = {_module_name(path) for path in (self.modules / "modules.builtin").read_text().split()}
        ordered: dict[str, None] = {}

        def add(path: str) -> None:
            for needed in needs[path]:
                add(needed)
            ordered[path] = None

        for name in names:
            if name in paths:
                add(paths[name])
            elif name not in built_in:
                raise FileNotFoundError(f"module {name}: not in {self.modules}")
        return [self.modules / path for path in ordered]


def newest_kernel() -> Kernel:
    """Return the newest kernel in /boot whose modules are installed.

    Raises:
        FileNotFoundError: there is none; says which Debian package has one.
    """
    found = [
        Kernel(image, modules)
        for image in Path("/boot").glob("vmlinuz-*")
        if (modules := Path("/lib/modules", image.name.removeprefix("vmlinuz-"))).is_dir()
    ]
    if not found:
        raise FileNotFoundError("/boot: no kernel with modules in /lib/modules (Debian package linux-image-amd64)")
    return max(found, key=lambda kernel: [int(number) for number in re.findall(r"\d+", kernel.image.name)])


def build(kernel: Kernel, modules: Iterable[str], files: Mapping[str, bytes]) -> bytes:
    """Return an initial RAM file system: busybox, `files` (path to content, executable), and `modules`.

    The modules lie in /modules, named so that the order of a directory listing is the order of loading.
    """
    content: dict[str, bytes] = {"bin/busybox": BUSYBOX.read_bytes(), **ETC, **files}
    for number, path in enumerate(kernel.module_files(modules)):
        content[f"modules/{number:02}-{path.name}"] = path.read_bytes()
    links = {f"bin/{name}": "busybox" for name in applets() if name != "busybox"}
    return b"".join(_cpio(content, links))


def _module_name(path: str) -> str:
    return Path(path).name.split(".")[0].replace("-", "_")


def _cpio(files: Mapping[str, bytes], links: Mapping[str, str]) -> Iterator[bytes]:
    parents = {str(parent) for path in [*files, *links] for parent in Path(path).parents} - {"."}
    number = 0
    for directory in sorted({*parents, "dev", "proc", "sys", "run", "tmp"}):
        number += 1
        yield _entry(number, directory, stat.S_IFDIR | 0o755, b"")
    for path, content in sorted(files.items()):
        number += 1
        yield _entry(number, path, stat.S_IFREG | 0o755, content)
    for path, target in sorted(links.items()):
        number += 1
        yield _entry(number, path, stat.S_IFLNK | 0o777, target.encode())
    yield _entry(0, "TRAILER!!!", 0, b"")


def _entry(number: int, path: str, mode: int, content: bytes) -> bytes:
    name = path.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _padded(header + name) + _padded(content)


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 4)
