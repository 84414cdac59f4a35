# SPDX-License-Identifier: Apache-2.0
"""The wanted state of every host, as backends put it, and who follows it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

from portico.hoststate import HostObject, Update, key_of

Follower = Callable[[Update], None]


class HostStates:
    """Implements `contract.Hosts`. Thread-safe.

    Backends write; nothing is told until `publish`, so that followers see one Update for each revision.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # host -> backend -> key -> object; two backends may want the same object (a security group) on one host.
        self._parts: defaultdict[str, defaultdict[str, dict[str, HostObject]]] = defaultdict(lambda: defaultdict(dict))
        self._touched: defaultdict[str, set[str]] = defaultdict(set)
        self._followers: defaultdict[str, list[Follower]] = defaultdict(list)
        self._revision = -1

    def put(self, backend: str, host: str, objects: Iterable[HostObject], gone: Iterable[str]) -> None:
        """See `contract.Hosts.put`."""
        with self._lock:
            part = self._parts[host][backend]
            for key in gone:
                if part.pop(key, None) is not None:
                    self._touched[host].add(key)
            for item in objects:
                self._set(host, part, item)

    def replace(self, backend: str, host: str, objects: Iterable[HostObject]) -> None:
        """See `contract.Hosts.replace`."""
        with self._lock:
            part = self._parts[host][backend]
            old = part.keys() - {self._set(host, part, item) for item in objects}
            for key in old:
                del part[key]
            self._touched[host] |= old

    def keep(self, backend: str, hosts: Collection[str]) -> None:
        """See `contract.Hosts.keep`."""
        for host in [host for host in self._parts if host not in hosts]:
            self.replace(backend, host, ())

    def restate(self, host: str, key: str) -> None:
        """Have `publish` tell of an object again although it is as it was: its status is asked for."""
        with self._lock:
            if any(key in part for part in self._parts[host].values()):
                self._touched[host].add(key)

    def _set(self, host: str, part: dict[str, HostObject], item: HostObject) -> str:
        key = key_of(item)
        if part.get(key) != item:
            part[key] = item
            self._touched[host].add(key)
        return key

    def _whole(self, host: str) -> dict[str, HostObject]:
        """Return what all backends together want of a host."""
        parts = self._parts[host].values() if host in self._parts else ()
        return {key: item for part in parts for key, item in part.items()}

    def publish(self, revision: int) -> None:
        """Tell followers what changed since the last call. The first call marks the states as complete."""
        with self._lock:
            first = self._revision < 0
            self._revision = revision
            touched, self._touched = self._touched, defaultdict(set)
            for host, followers in self._followers.items():
                if first:
                    update = self._complete(host)
                elif touched[host]:
                    update = self._difference(host, touched[host])
                else:
                    continue
                for follower in followers:
                    follower(update)

    def _difference(self, host: str, keys: Collection[str]) -> Update:
        parts = self._parts[host].values()
        have = {key: part[key] for part in parts for key in keys if key in part}
        gone = tuple(key for key in keys if key not in have)
        return Update(revision=self._revision, objects=tuple(have.values()), gone=gone)

    def _complete(self, host: str) -> Update:
        return Update(revision=self._revision, objects=tuple(self._whole(host).values()), complete=True)

    def followed(self) -> int:
        """Return how many hosts somebody follows: those that are connected."""
        return len(self._followers)

    def follow(self, host: str, follower: Follower) -> Callable[[], None]:
        """Call `follower` with the complete state (now, or as soon as it is known), then with every change.

        `follower` is called under a lock and must be quick. Returns what ends it.
        """
        with self._lock:
            self._followers[host].append(follower)
            if self._revision >= 0:
                follower(self._complete(host))

        def end() -> None:
            with self._lock:
                self._followers[host].remove(follower)
                if not self._followers[host]:
                    del self._followers[host]

        return end
