# SPDX-License-Identifier: Apache-2.0
"""Initial RAM file systems: what cpio reads back, and the order of modules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from portico.testing.lab.initramfs import Kernel, build, newest_kernel


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """Return a kernel with three modules, each of which needs the one before, and one that is built in."""
    (tmp_path / "modules.dep").write_text("net/c-c.ko: net/b.ko lib/a.ko\nnet/b.ko: lib/a.ko\nlib/a.ko:\n")
    (tmp_path / "modules.builtin").write_text("kernel/fs/built-in.ko\n")
    for name in ("net/c-c.ko", "net/b.ko", "lib/a.ko"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return Kernel(tmp_path / "vmlinuz", tmp_path)


def test_modules_are_loaded_after_those_they_need(kernel: Kernel) -> None:
    names = [path.name for path in kernel.module_files(["c_c", "b"])]
    assert names == ["a.ko", "b.ko", "c-c.ko"]


def test_a_built_in_module_needs_no_file_and_an_unknown_one_is_named(kernel: Kernel) -> None:
    assert kernel.module_files(["built_in"]) == []
    with pytest.raises(FileNotFoundError, match=r"module floppy: not in "):
        kernel.module_files(["floppy"])


def test_cpio_reads_what_was_built(kernel: Kernel, tmp_path: Path) -> None:
    content = build(kernel, ["b"], {"init": b"#!/bin/sh\n", "deep/er/file": b"odd"})
    target = tmp_path / "unpacked"
    target.mkdir()
    subprocess.run(["/bin/busybox", "cpio", "-i", "-d"], input=content, cwd=target, check=True, capture_output=True)
    assert (target / "init").read_bytes() == b"#!/bin/sh\n"
    assert (target / "init").stat().st_mode & 0o111
    assert (target / "deep/er/file").read_bytes() == b"odd"
    assert [path.name for path in sorted((target / "modules").iterdir())] == ["00-a.ko", "01-b.ko"]
    assert (target / "bin/ping").readlink() == Path("busybox")


def test_the_installed_kernel_is_found_and_has_the_modules_of_a_virtual_machine() -> None:
    kernel = newest_kernel()
    names = [path.name for path in kernel.module_files(["virtio_pci", "virtio_net"])]
    assert names.index("virtio.ko") < names.index("virtio_net.ko")
    assert kernel.image.exists()
