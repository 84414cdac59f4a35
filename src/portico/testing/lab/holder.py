# SPDX-License-Identifier: Apache-2.0
"""The process that holds a lab host's namespaces: process 1 of the host, alive as long as the host is.

Run as a script, `python -I -S holder.py LAB HOST`, by `portico.testing.lab.host`. Standard input is the life line:
when it ends, however the lab's process ended, the holder exits, and the kernel kills every process of the host and
frees its namespaces, mounts and links. A line "keep" before the end lets the host outlive the lab; SIGTERM then ends
it. Standard output gets one line, the holder's process id as the lab sees it, when the host is ready.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import namespaces as ns  # type: ignore[import-not-found]  # beside this file; Portico may not be importable here

PRIVATE_DIRECTORIES = ("/var/lib/portico", "/var/lib/docker", "/var/lib/containerd")
RUN_DIRECTORIES = ("netns", "docker/plugins", "lock", "portico", "lab/log")
OVERLAID = ("/etc", "/var/lib")


def furnish(hostname: str) -> None:
    """Mount what a host has of its own, from inside its new namespaces, and name it."""
    cgroups = os.open("/sys/fs/cgroup", os.O_PATH)
    ns.mount("", "/", flags=ns.MS_REC | ns.MS_PRIVATE)
    harmless = ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC
    ns.mount("proc", "/proc", "proc", harmless)
    ns.mount("sysfs", "/sys", "sysfs", harmless)  # shows the links of the new network namespace
    ns.mount(f"/proc/self/fd/{cgroups}", "/sys/fs/cgroup", flags=ns.MS_BIND | ns.MS_REC)
    os.close(cgroups)
    ns.mount("run", "/run", "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755")
    for name in RUN_DIRECTORIES:
        Path("/run", name).mkdir(parents=True)
    for name in OVERLAID:
        overlay(name, Path("/run/lab/overlay", name.strip("/").replace("/", "-")))
    for name in PRIVATE_DIRECTORIES:
        Path(name).mkdir(exist_ok=True)
        ns.mount(Path(name).name, name, "tmpfs", ns.MS_NODEV, "mode=700")
    socket.sethostname(hostname)


def overlay(target: str, scratch: Path) -> None:
    """Let the host see the machine's `target`, and keep in `scratch` what the host writes there."""
    for name in ("upper", "work"):
        (scratch / name).mkdir(parents=True)
    ns.mount("overlay", target, "overlay", 0, f"lowerdir={target},upperdir={scratch}/upper,workdir={scratch}/work")


def hold(ready: int) -> None:
    """Stay until the life line ends; as process 1, let the kernel reap the orphans of the host."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    os.write(ready, b"ready\n")
    os.close(ready)
    if sys.stdin.readline() == "keep\n":
        while True:
            signal.pause()


def main() -> int:
    """Make the namespaces, start process 1 in them, report it, and wait for its end."""
    hostname = sys.argv[2]
    ns.unshare(ns.CLONE_NEWNET | ns.CLONE_NEWNS | ns.CLONE_NEWPID | ns.CLONE_NEWUTS | ns.CLONE_NEWIPC)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.close(sys.stdout.fileno())
        furnish(hostname)
        hold(writer)
        return 0
    os.close(writer)
    if os.read(reader, 64) == b"ready\n":
        print(pid, flush=True)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
