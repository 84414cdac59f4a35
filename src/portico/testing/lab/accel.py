# SPDX-License-Identifier: Apache-2.0
"""Which of QEMU's accelerators works here."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile

QEMU = "qemu-system-x86_64"
CPU = "max"

_EXIT_CODE = 33  # of QEMU, when the guest writes 0x10 to the isa-debug-exit device: (0x10 << 1) | 1
_BOOT_SECTOR = bytes.fromhex("b010 e6f4 f4 ebfd").ljust(510, b"\0") + b"\x55\xaa"  # mov al,0x10; out 0xf4,al; hlt; jmp


@functools.cache
def accelerator() -> str:
    """Return "kvm" if a guest boots with it here, in a time that makes it worth it, else "tcg".

    /dev/kvm may exist, open and make virtual machines, and still run none; so a boot sector is run, which takes 0.2 s.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with tempfile.NamedTemporaryFile(prefix="portico-kvm-") as file:
        file.write(_BOOT_SECTOR)
        file.flush()
        devices = ["-drive", f"file={file.name},format=raw", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
        quiet = ["-display", "none", "-nodefaults", "-serial", "none", "-monitor", "none"]
        argv = [QEMU, "-accel", "kvm", "-cpu", CPU, "-machine", "pc", "-m", "16", *quiet, *devices]
        try:
            run = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=1.5)
        except subprocess.TimeoutExpired:
            return "tcg"
    return "kvm" if run.returncode == _EXIT_CODE else "tcg"
