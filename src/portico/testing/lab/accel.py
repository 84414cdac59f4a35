# SPDX-License-Identifier: Apache-2.0
"""Which of QEMU's accelerators works here."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from pathlib import Path

from portico.testing.lab import initramfs

QEMU = "qemu-system-x86_64"
CPU = "max"
KERNEL_OPTIONS = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check"

_SIGN = "guest: runs programs"
_INIT = f"#!/bin/busybox sh\necho '{_SIGN}'\n/bin/busybox reboot -f\n"
_WORTH_IT_S = 5  # an emulated machine comes as far in 4 s


@functools.cache
def accelerator() -> str:
    """Return "kvm" if a guest comes up with it here, in a time that makes it worth it, else "tcg".

    /dev/kvm may exist, open, make virtual machines and run a boot sector, and still end at the first instruction of a
    kernel that the machine below does not emulate (seen: `lock cmpxchg16b`). So the kernel itself is tried.

    Raises:
        FileNotFoundError: /dev/kvm is there, but no kernel is installed.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with tempfile.TemporaryDirectory(prefix="portico-kvm-") as folder:
        kernel = initramfs.newest_kernel()
        Path(folder, "kernel").write_bytes(kernel.bootable())
        Path(folder, "initramfs").write_bytes(initramfs.build(kernel, (), {"init": _INIT.encode()}))
        machine = ["-accel", "kvm", "-machine", "pc", "-cpu", CPU, "-smp", str(os.cpu_count() or 1), "-m", "256"]
        system = ["-kernel", f"{folder}/kernel", "-initrd", f"{folder}/initramfs", "-append", KERNEL_OPTIONS]
        quiet = ["-serial", "stdio", "-nodefaults", "-display", "none", "-no-reboot"]
        try:
            run = subprocess.run(
                [QEMU, *machine, *system, *quiet], stdin=subprocess.DEVNULL, capture_output=True, timeout=_WORTH_IT_S
            )
        except subprocess.TimeoutExpired:
            return "tcg"
    return "kvm" if _SIGN.encode() in run.stdout else "tcg"
