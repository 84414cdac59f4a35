# SPDX-License-Identifier: Apache-2.0
"""What a BIRD of this agent has of the machine: the namespace it is in, its files, what it put into the kernel.

The BGP speaker is one, in the host's namespace, and what watches a router's next hops, in the router's. Each is an
instance of its own, with its own configuration and control socket, not the distribution's service. Its process outlives
the agent.

It runs as the user whom its package makes, with four capabilities that it keeps itself (`drop_uid` in
`sysdep/linux/syspriv.h` of 2.0.12): net_admin, net_raw, net_bind_service, net_broadcast. Of our folder it may read the
configuration, and write its log and what is in its pid file; nothing else, for the agent works there as root.
"""

from __future__ import annotations

import errno
import os
import pwd
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from portico.agent import bird, birdc, kernel
from portico.agent.daemon import Daemon, is_open_to_all, program
from portico.agent.learnt import LearntRoutes

FOLDER = "bgp"
USER = "bird"
START_MAX_S = 10.0
_NEW = f"{bird.CONFIG}.new"
_NOTHING = "show status"
_WAKE_S = 0.05
# Of troubles with peers, which may be many.
_TOLD_MAX = 5


def folder(run_dir: Path, netns: str) -> Path:
    """Return where the files are of the BIRD of the agent whose namespace is called `netns`."""
    return run_dir / FOLDER / netns


def lack() -> str:
    """Return why this host cannot have a BIRD; empty if it can."""
    return "" if program("bird") else "BIRD is not installed (package bird2)"


def facts(files: Path, troubles: Sequence[str]) -> dict[str, str]:
    """Return what is worth knowing of the BIRD whose files are there.

    How many sessions there are, whose are down, and what is not as wanted: it is not there, or refuses something.
    """
    told = {"bgp_trouble": "; ".join(troubles[:_TOLD_MAX])} if troubles else {}
    try:
        found = bird.sessions(birdc.ask(files / bird.CONTROL, "show protocols"))
    except OSError:
        return told
    down = sorted(peer for peer, is_up in found.items() if not is_up)
    told["bgp_sessions"] = f"{len(found) - len(down)} of {len(found)}"
    return {**told, "bgp_down": " ".join(down)} if down else told


class Bird:
    """A BIRD in the network namespace `netns` (a path), whose files are in `files`, somewhere below `run_dir`."""

    def __init__(self, files: Path, netns: Path, *, run_dir: Path, learnt: LearntRoutes) -> None:
        self.folder = files
        self._run_dir = run_dir
        self._netns = netns
        self._learnt = learnt
        self._ends = select.epoll()
        self._watched: Daemon | None = None

    def is_known(self) -> bool:
        """Return whether there is anything of it; who has no files has no routes either: they are another BIRD's."""
        return self.folder.is_dir()

    def pid(self) -> int | None:
        """Return the process of the BIRD that runs; from then on `has_ended` tells of its end."""
        daemon = Daemon.find(self.folder / bird.PID, self._netns)
        if daemon is None:
            return None
        if not self._is_ours(daemon):
            daemon.close()
            return None
        self._forget()
        self._watched = daemon
        self._ends.register(daemon.fileno(), select.EPOLLIN)
        return daemon.pid

    def config(self) -> str:
        """Return the configuration that the BIRD which runs has; empty if that is not the one in its file."""
        try:
            text = (self.folder / bird.CONFIG).read_text()
            name = bird.digest(text)
            known = birdc.ask(self.folder / bird.CONTROL, f"show symbols {name}") if name else ""
        except OSError:
            return ""
        return text if known.split() == [name, "constant"] else ""

    def fileno(self) -> int:
        """Return a descriptor that is readable when it has ended."""
        return self._ends.fileno()

    def has_ended(self) -> bool:
        """Return whether it has ended since the last call."""
        if not self._ends.poll(0):
            return False
        self._forget()
        return True

    def close(self) -> None:
        """Watch for its end no more."""
        self._forget()
        self._ends.close()

    def put(self, config: str) -> None:
        """Bring a configuration into force; one that BIRD refuses leaves it with the one it had.

        Raises:
            OSError: BIRD is not there, refuses it, or does not start.
        """
        try:
            self.check(config)
        except OSError:
            if self.pid() is None and self.has_config():
                self._start_alone()
            raise
        self.adopt()
        if self.pid() is None:
            self._start_alone()
            return
        try:
            self.configure()
        except TimeoutError:  # it hangs: neither peers nor the kernel hear of it
            self._start_alone()

    def check(self, config: str) -> None:
        """Write a configuration beside the one in force and have BIRD judge it.

        Raises:
            OSError: BIRD is not there, or would not take it; with its own words.
        """
        user = self._user()
        self._prepare(user)
        path = self.folder / _NEW
        path.touch(mode=0o600)
        path.write_text(config)
        _share(path, user, 0o640)
        self._run(user, "-p", "-c", str(path))

    def adopt(self) -> None:
        """Put the configuration that was checked into the place of the one in force."""
        (self.folder / _NEW).replace(self.folder / bird.CONFIG)

    def has_config(self) -> bool:
        """Return whether there is a configuration to start with."""
        return (self.folder / bird.CONFIG).is_file()

    def configure(self) -> None:
        """Have the BIRD that runs read its configuration.

        Raises:
            OSError: it does not answer, or does not take it; it goes on with what it has.
        """
        birdc.ask(self.folder / bird.CONTROL, "configure")

    def start(self) -> None:
        """Start a BIRD; it is ready when this returns. Routes of a former one stay until peers had time to come back.

        Raises:
            OSError: BIRD is not there, or refused; with its own words.
        """
        user, pid_file = self._user(), self.folder / bird.PID
        pid_file.touch()
        os.chown(pid_file, user.pw_uid, user.pw_gid)
        names = (("-c", bird.CONFIG), ("-s", bird.CONTROL), ("-P", bird.PID))
        arguments = [word for option, name in names for word in (option, str(self.folder / name))]
        self._run(user, *(["-R"] if self._learnt.any() else []), *arguments)
        birdc.ask(self.folder / bird.CONTROL, _NOTHING)
        threading.Thread(target=self._keep_awake, name="bird", daemon=True).start()

    def end(self) -> None:
        """End every process of it, also one whose pid file is gone. Peers are told; the kernel keeps its routes."""
        for daemon in Daemon.all(self._is_ours):
            daemon.end()

    def remove(self) -> None:
        """Remove the routes and files of a BIRD that ended; the files last, for they tell of the routes."""
        if self.is_known():
            self._learnt.remove_all()
            shutil.rmtree(self.folder)

    def _start_alone(self) -> None:
        self.end()
        self.start()

    def _user(self) -> pwd.struct_passwd:
        """Return whom BIRD is to run as: root if its package made no user, or one who cannot get to our folder."""
        with suppress(KeyError):
            if is_open_to_all(self._run_dir):
                return pwd.getpwnam(USER)
        return pwd.getpwuid(0)

    def _prepare(self, user: pwd.struct_passwd) -> None:
        """Make the folders that are not there; the log of one who ran as somebody else goes."""
        self.folder.parent.mkdir(exist_ok=True)
        self.folder.parent.chmod(0o755)
        self.folder.mkdir(exist_ok=True, mode=0o700)
        _share(self.folder, user, 0o750)
        log = (self.folder / bird.LOG).parent
        if log.is_dir() and log.stat().st_uid != user.pw_uid:
            shutil.rmtree(log)
        log.mkdir(exist_ok=True, mode=0o700)
        os.chown(log, user.pw_uid, user.pw_gid)

    def _keep_awake(self) -> None:
        """Wake BIRD while its sessions come up, until it does not answer.

        What its timers bring up it does only when something else wakes it, after 3 s at the latest (`io_loop` in
        `sysdep/unix/io.c` of 2.0.12): several such steps are between a start and the first route that is told of.
        """
        until = time.monotonic() + bird.RECOVERY_S
        with suppress(OSError):
            while time.monotonic() < until:
                birdc.ask(self.folder / bird.CONTROL, _NOTHING)
                time.sleep(_WAKE_S)

    def _is_ours(self, daemon: Daemon) -> bool:
        name, *arguments = daemon.arguments() or [""]
        return name.endswith("bird") and str(self.folder / bird.CONFIG) in arguments and daemon.sees(self.folder)

    def _forget(self) -> None:
        if self._watched is not None:
            self._ends.unregister(self._watched.fileno())
            self._watched.close()
            self._watched = None

    def _run(self, user: pwd.struct_passwd, *arguments: str) -> None:
        found = program("bird")
        if found is None:
            raise FileNotFoundError(errno.ENOENT, lack())

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [found, "-u", str(user.pw_uid), "-g", str(user.pw_gid), *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=START_MAX_S,
                check=False,
            )

        netns = os.open(self._netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            done = kernel.within(netns, run)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(errno.ETIMEDOUT, f"BIRD has not started in {START_MAX_S:g} s") from error
        finally:
            os.close(netns)
        if done.returncode != 0:
            raise OSError(errno.EINVAL, done.stderr.strip() or f"BIRD ended with {done.returncode}")


def _share(path: Path, user: pwd.struct_passwd, mode: int) -> None:
    """Let `user`, by his group, do with root's file or folder what `mode` says."""
    os.chown(path, 0, user.pw_gid)
    path.chmod(mode)
