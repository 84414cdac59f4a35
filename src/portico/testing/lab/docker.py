# SPDX-License-Identifier: Apache-2.0
"""A real Docker Engine on a lab host."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from types import TracebackType

from portico.testing.lab import image
from portico.testing.lab.host import LabHost
from portico.testing.lab.process import NotReady, Process, Result, wait_until

IMAGE = "portico/demo:latest"
IMAGE_WITH_IPERF = "portico/iperf:latest"

_CONTAINERD = """\
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
"""


class DockerEngine:
    """containerd and dockerd of this machine, run on a lab host with their defaults, state on the host's own tmpfs.

    The engine listens where the `docker` command looks, so `host.run(["docker", ...])` works too. containerd is a
    process of its own, as with Debian's units: killing dockerd leaves it and the containers alone.
    """

    def __init__(
        self, host: LabHost, *, live_restore: bool = False, exec_root: str = "/run/docker", options: Sequence[str] = ()
    ) -> None:
        """Prepare an engine on `host`; `options` are further arguments of dockerd."""
        self.host = host
        self._options = [
            f"--exec-root={exec_root}",
            f"--cgroup-parent=/{host.lab}",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            "--containerd=/run/containerd/containerd.sock",
            "--config-file=/run/lab/docker.json",
            *options,
        ]
        self._settings = {"live-restore": live_restore}
        self._containerd: Process | None = None
        self._dockerd: Process | None = None

    @property
    def dockerd(self) -> Process:
        """The running dockerd."""
        if self._dockerd is None:
            raise NotReady("dockerd: was not started")
        return self._dockerd

    def start(self, timeout_s: float = 60.0) -> None:
        """Start what does not run, and wait until the engine answers.

        Raises:
            NotReady: it did not; the message holds the end of its log.
        """
        if self._containerd is None or not self._containerd.alive:
            self.host.path("/run/lab/containerd.toml").write_text(_CONTAINERD)
            self._containerd = self.host.spawn(["containerd", "--config", "/run/lab/containerd.toml"])
            self._containerd.wait_for_text("containerd successfully booted", timeout_s)
        self.host.path("/run/lab/docker.json").write_text(json.dumps(self._settings))
        self._dockerd = self.host.spawn(["dockerd", *self._options])
        wait_until("dockerd: an answer to `docker version`", self._answers, timeout_s, self._dockerd.tail)

    def load(self, tag: str = IMAGE, programs: Sequence[str] = ()) -> None:
        """Make an image of busybox and `programs` of this machine, and load it as `tag`."""
        path = self.host.path("/run/lab/image.tar")
        path.write_bytes(image.archive(tag, programs))
        self.docker("load", "--quiet", "--input", "/run/lab/image.tar")
        path.unlink()

    def docker(self, *words: str, timeout_s: float = 60.0, check: bool = True) -> Result:
        """Run the `docker` command with `words` on the host."""
        return self.host.run(["docker", *words], timeout_s=timeout_s, check=check)

    def stop(self) -> None:
        """End the engine in an orderly way (SIGTERM). containerd stays, and with live-restore the containers."""
        self.dockerd.stop(30)

    def kill(self) -> None:
        """End dockerd with SIGKILL. containerd and the containers stay."""
        self.dockerd.kill()

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End dockerd with SIGTERM or SIGKILL and start it again."""
        if how is signal.SIGKILL:
            self.kill()
        else:
            self.stop()
        self.start()

    def __enter__(self) -> DockerEngine:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the engine and its containers, whatever live-restore says; the lab would do the same less orderly."""
        if self._dockerd is not None:
            self._dockerd.stop(30)
        if self._containerd is not None:
            self._containerd.stop(10)

    def _answers(self) -> bool:
        if not self.dockerd.alive:
            raise NotReady(f"dockerd: ended with exit code {self.dockerd.code}\n{self.dockerd.tail()}")
        return self.docker("version", check=False).ok
