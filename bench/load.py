# SPDX-License-Identifier: Apache-2.0
"""A load of HTTP requests that costs the machine little: prepared bytes on kept connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

Connect = Callable[[], socket.socket]


@dataclass
class Run:
    """What a load saw: seconds of each answer, bodies if kept, and how long all of it took."""

    seconds: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def per_second(self) -> float:
        """Answers in a second."""
        return len(self.seconds) / self.elapsed_s


def request(method: str, path: str, body: object = None, token: str = "") -> bytes:
    """Return a request as bytes, by whoever has the token."""
    raw = msgspec.json.encode(body) if body is not None else b""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(raw)}"]
    if token:
        lines.append(f"X-Auth-Token: {token}")
    return "\r\n".join([*lines, "", ""]).encode() + raw


def exchange(connection: socket.socket, raw: bytes) -> tuple[int, bytes]:
    """Send one request and return status and body of its answer."""
    connection.sendall(raw)
    data = connection.recv(65536)
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
    parts = [body]
    have = len(body)
    while have < length:
        part = connection.recv(1 << 20)
        parts.append(part)
        have += len(part)
    return int(lines[0].split()[1]), b"".join(parts)


def send(connect: Connect, requests: Sequence[bytes], concurrency: int, *, keep: bool = False) -> Run:
    """Send all requests over `concurrency` connections, each as soon as the one before it is answered."""
    run = Run()
    lock = threading.Lock()
    waiting = iter(requests)

    def work(connection: socket.socket) -> None:
        seconds, bodies, refused = [], [], []
        while True:
            with lock:
                raw = next(waiting, None)
            if raw is None:
                break
            start = time.perf_counter()
            status, body = exchange(connection, raw)
            seconds.append(time.perf_counter() - start)
            if status >= 300:
                refused.append(body)
            elif keep:
                bodies.append(body)
        connection.close()
        with lock:
            run.seconds.extend(seconds)
            run.bodies.extend(bodies)
            run.refused.extend(refused)

    threads = [threading.Thread(target=work, args=(connect(),)) for _ in range(concurrency)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.elapsed_s = time.perf_counter() - start
    return run
