# SPDX-License-Identifier: Apache-2.0
"""Runs a command under Debian's stock kernel: the same files, another kernel, in a virtual machine.

The machine sees this machine's whole file system as it is now; what it writes is gone afterwards. It has no network
link but loopback, root's rights, a control group v2 hierarchy, and the kernel's modules, which load on demand.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from portico.testing.lab import initramfs
from portico.testing.lab.accel import CPU, KERNEL_OPTIONS, QEMU, accelerator
from portico.testing.lab.host import LabHost
from portico.testing.lab.lab import Lab
from portico.testing.lab.process import NotReady

MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
MEMORY_MB = 4096
TCG_PATIENCE = 10  # an emulated machine starts Docker in 20 to 50 s instead of 1

_GUEST = Path(__file__).with_name("guest")

_COMMAND = """\
mount -t proc proc /proc
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
hostname stock
ulimit -n 65536
cd {directory} && {environment} {command}
echo $? >/dev/ttyS1
/run/busybox reboot -f
"""


def run(argv: Sequence[str], *, timeout_s: float, memory_mb: int = MEMORY_MB) -> int:
    """Run `argv` under the newest installed kernel, in the current directory, and return its exit code.

    What it writes goes to our standard output as it comes.

    Raises:
        NotReady: the machine did not come up, broke down, or took longer than `timeout_s`; it is gone then.
        FileNotFoundError: no kernel is installed.
    """
    with Lab() as lab:
        host = lab.host("stock")
        kernel = initramfs.newest_kernel()
        files = {"init": (_GUEST / "stock_init.sh").read_bytes(), "command.sh": _script(argv).encode()}
        host.path("/run/lab/kernel").write_bytes(kernel.bootable())
        host.path("/run/lab/initramfs").write_bytes(initramfs.build(kernel, MODULES, files))
        qemu = host.popen(_command_line(memory_mb))
        try:
            qemu.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise NotReady(f"stock kernel: {shlex.join(argv)}: not ended after {timeout_s:g} s") from None
        return _exit_code(host, argv)


def _exit_code(host: LabHost, argv: Sequence[str]) -> int:
    code = host.path("/run/lab/exit").read_text().strip()
    if not code.isdigit():
        raise NotReady(f"stock kernel: {shlex.join(argv)}: the machine ended before the command did")
    return int(code)


def _script(argv: Sequence[str]) -> str:
    return _COMMAND.format(
        directory=shlex.quote(str(Path.cwd())),
        environment=shlex.join(["env", *(f"{name}={value}" for name, value in _environment().items())]),
        command=shlex.join(argv),
    )


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PORTICO_LAB_PATIENCE": "1" if accelerator() == "kvm" else str(TCG_PATIENCE)}


def _command_line(memory_mb: int) -> list[str]:
    machine = ["-accel", accelerator(), "-machine", "pc", "-cpu", CPU, "-smp", str(os.cpu_count() or 1)]
    system = ["-m", str(memory_mb), "-kernel", "/run/lab/kernel", "-initrd", "/run/lab/initramfs"]
    files = "local,path=/,mount_tag=real,security_model=none,readonly=on,multidevs=remap"
    lines = ["-serial", "stdio", "-serial", "file:/run/lab/exit", "-nodefaults", "-display", "none", "-no-reboot"]
    return [QEMU, *machine, *system, "-virtfs", files, "-append", KERNEL_OPTIONS, *lines]
