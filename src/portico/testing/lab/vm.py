# SPDX-License-Identifier: Apache-2.0
"""A real virtual machine on a lab host: QEMU, the newest installed kernel, busybox."""

from __future__ import annotations

import base64
import contextlib
import shlex
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from portico.testing.lab import initramfs
from portico.testing.lab.accel import CPU, KERNEL_OPTIONS, QEMU, accelerator
from portico.testing.lab.host import LabHost
from portico.testing.lab.process import CommandFailed, NotReady, Process, Result, wait_until

MODULES = ("virtio_pci", "virtio_net", "virtio_console")
MEMORY_MB = 256

_GUEST = Path(__file__).with_name("guest")


class VirtualMachine:
    """A guest whose `eth0` is a tap link of `host`, with an IPv4 address from DHCP, and one from SLAAC where offered.

    The tap must exist, or QEMU makes it. `run` runs commands in the guest, which has those of busybox.
    """

    def __init__(
        self,
        host: LabHost,
        name: str,
        *,
        tap: str,
        mac: str,
        more: Sequence[tuple[str, str]] = (),
        modules: Sequence[str] = (),
    ) -> None:
        """Prepare a guest.

        Args:
            host: where it runs.
            name: its own, and its host name.
            tap: the link that is its eth0.
            mac: of eth0.
            more: taps and MAC addresses of its eth1, eth2 and so on, which stay down and without addresses.
            modules: kernel modules that it needs besides.
        """
        self.host = host
        self.name = name
        self._links = [(tap, mac), *more]
        self._modules = (*MODULES, *modules)
        self._directory = f"/run/lab/vm-{name}"
        self._process: Process | None = None
        self._line: socket.socket | None = None
        self._turn = threading.Lock()  # the guest's agent does one command after another

    @property
    def process(self) -> Process:
        """The running QEMU; its log is the guest's console."""
        if self._process is None:
            raise NotReady(f"virtual machine {self.name}: was not started")
        return self._process

    def start(self, timeout_s: float = 60.0) -> None:
        """Boot, and wait until the guest takes commands. Its address may come later: see `wait_for_address`.

        Raises:
            NotReady: it did not; the message holds the end of its console.
        """
        directory = self.host.path(self._directory)
        directory.mkdir()
        kernel = initramfs.newest_kernel()
        files = {
            "init": (_GUEST / "init.sh").read_bytes(),
            "udhcpc.sh": (_GUEST / "udhcpc.sh").read_bytes(),
            "hostname": self.name.encode(),
        }
        (directory / "kernel").write_bytes(kernel.bootable())
        (directory / "initramfs").write_bytes(initramfs.build(kernel, self._modules, files))
        self._process = self.host.spawn(self._command_line(), log=f"vm-{self.name}")
        wait_until(f"virtual machine {self.name}: QEMU listening", self._connected, timeout_s, self._process.tail)
        if self._receive(timeout_s) != "ready":
            self.stop()
            raise NotReady(f"virtual machine {self.name}: QEMU ended, or not ready in time\n{self._process.tail()}")
        for name in ("kernel", "initramfs"):  # some 75 MB, read once
            (directory / name).unlink()

    def wait_for_address(self, timeout_s: float = 30.0) -> str:
        """Return the IPv4 address that DHCP gave the guest.

        Raises:
            NotReady: it has none in time; the message holds the end of its console.
        """
        sign = "guest: address "
        self.process.wait_for_text(sign, timeout_s)
        return self.process.output.rpartition(sign)[2].partition("/")[0]

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, check: bool = True) -> Result:
        """Run `argv` in the guest to its end; `out` holds both what it wrote to output and to error.

        Raises:
            CommandFailed: the command failed and `check` is set, or it took longer than `timeout_s` and was killed.
        """
        started = time.monotonic()
        command = ["timeout", "-s", "KILL", f"{timeout_s:.0f}", *argv]
        with self._turn:
            self._send(shlex.join(command))
            code, _, output = self._receive(timeout_s + 10).partition(" ")
        if not code.isdigit():
            raise NotReady(f"virtual machine {self.name}: no answer to {shlex.join(argv)}\n{self.process.tail()}")
        text = base64.b64decode(output).decode(errors="replace")
        result = Result(tuple(argv), int(code), text, "", time.monotonic() - started)
        if check and not result.ok:
            raise CommandFailed(f"virtual machine {self.name}", result)
        return result

    def stop(self) -> None:
        """Switch the guest off."""
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.stop()

    def __enter__(self) -> VirtualMachine:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command_line(self) -> list[str]:
        machine = ["-accel", accelerator(), "-machine", "pc", "-cpu", CPU, "-m", str(MEMORY_MB), "-nodefaults"]
        system = ["-kernel", f"{self._directory}/kernel", "-initrd", f"{self._directory}/initramfs"]
        lines = ["-serial", "stdio", "-chardev", f"socket,id=agent,path={self._directory}/agent,server=on,wait=on"]
        network = [
            word
            for number, (tap, mac) in enumerate(self._links)
            for word in (
                *("-netdev", f"tap,id=eth{number},ifname={tap},script=no,downscript=no,vhost=off"),
                *("-device", f"virtio-net-pci,netdev=eth{number},mac={mac},romfile="),
            )
        ]
        # Not a second UART: bytes of a line that came while it was busy were lost there (QEMU 7.2 without KVM).
        agent = ["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent"]
        rest = ["-append", KERNEL_OPTIONS, "-display", "none", "-no-reboot"]
        return [QEMU, "-name", self.name, *machine, *system, *lines, *network, *agent, *rest]

    def _connected(self) -> bool:
        """Try to connect to the guest's serial port for commands; QEMU waits for that before it starts the guest."""
        if not self.process.alive:
            raise NotReady(f"virtual machine {self.name}: QEMU ended\n{self.process.tail()}")
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(self.host.path(f"{self._directory}/agent")))
        except (FileNotFoundError, ConnectionRefusedError):
            line.close()
            return False
        self._line = line
        return True

    def _send(self, command: str) -> None:
        assert self._line is not None
        self._line.sendall(base64.b64encode(command.encode()) + b"\n")

    def _receive(self, timeout_s: float) -> str:
        """Return the next line from the guest's agent, or what came of it in time."""
        assert self._line is not None
        self._line.settimeout(timeout_s)
        received = b""
        with contextlib.suppress(TimeoutError):
            while not received.endswith(b"\n") and (more := self._line.recv(65536)):
                received += more
        return received.decode().strip()
