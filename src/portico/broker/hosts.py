# SPDX-License-Identifier: Apache-2.0
"""The wanted state of every host, as backends put it, and who follows it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from portico.hoststate import HostObject, Update, key_of
from portico.hoststate.look import Look

Follower = Callable[[Update], None]


class HostStates:
    """Implements `contract.Hosts`. Thread-safe.

    Backends write; nothing is told until `publish`, so that followers see one Update for each revision. What a backend
    of `expect` has not published yet is unknown: followers wait for it, until `begin` says that they shall not.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # host -> backend -> key -> object; two backends may want the same object (a security group) on one host.
        self._parts: defaultdict[str, defaultdict[str, dict[str, HostObject]]] = defaultdict(lambda: defaultdict(dict))
        # backend -> host -> keys
        self._touched: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._followers: defaultdict[str, list[Follower]] = defaultdict(list)
        self._unknown: set[str] = set()
        # By backend, in the order of revisions: of an object that two want, the newer state counts.
        self._revisions: dict[str, int] = {}
        self._begun = False

    def expect(self, backends: Iterable[str]) -> None:
        """Tell followers nothing before each of `backends` has published."""
        self._unknown.update(backends)

    def put(self, backend: str, host: str, objects: Iterable[HostObject], gone: Iterable[str]) -> None:
        """See `contract.Hosts.put`."""
        with self._lock:
            part, touched = self._parts[host][backend], self._touched[backend][host]
            for key in gone:
                if part.pop(key, None) is not None:
                    touched.add(key)
            for item in objects:
                _set(part, touched, item)

    def replace(self, backend: str, host: str, objects: Iterable[HostObject]) -> None:
        """See `contract.Hosts.replace`."""
        with self._lock:
            part, touched = self._parts[host][backend], self._touched[backend][host]
            old = part.keys() - {_set(part, touched, item) for item in objects}
            for key in old:
                del part[key]
            touched |= old

    def keep(self, backend: str, hosts: Collection[str]) -> None:
        """See `contract.Hosts.keep`."""
        with self._lock:
            left = [host for host, parts in self._parts.items() if host not in hosts and parts.get(backend)]
        for host in left:
            self.replace(backend, host, ())

    def restate(self, host: str, key: str) -> None:
        """Have `publish` tell of an object again although it is as it was: its status is asked for."""
        with self._lock:
            for backend, part in self._parts[host].items():
                if key in part:
                    self._touched[backend][host].add(key)

    def publish(self, revision: int, backend: str | None = None) -> None:
        """Tell followers what `backend` (None: any) changed since it published last.

        When none is unknown any more, followers are told the whole.
        """
        with self._lock:
            names = {backend} if backend is not None else {"", *self._touched, *self._unknown, *self._revisions}
            newly = bool(self._unknown.intersection(names)) or not self._revisions
            self._unknown.difference_update(names)
            self._revisions |= dict.fromkeys(names, revision)
            self._revisions = dict(sorted(self._revisions.items(), key=lambda pair: pair[1]))
            touched = [self._touched.pop(name) for name in names if name in self._touched]
            whole = newly and not self._unknown
            self._begun |= whole
            if self._begun:
                self._tell(touched, whole=whole)

    def begin(self) -> None:
        """Tell followers what is known, if anything is: they shall not wait for the rest."""
        with self._lock:
            if not self._begun and self._revisions:
                self._begun = True
                self._tell((), whole=True)

    def _tell(self, touched: Collection[Mapping[str, set[str]]], *, whole: bool) -> None:
        for host, followers in self._followers.items():
            keys = set().union(*(found.get(host, ()) for found in touched))
            if not (whole or keys):
                continue
            update = self._complete(host) if whole else self._difference(host, keys)
            for follower in followers:
                follower(update)

    @property
    def _revision(self) -> int:
        return next(reversed(self._revisions.values()), 0)

    def _known(self, host: str) -> Iterator[dict[str, HostObject]]:
        """Yield the parts of a host that were published, the newest last."""
        parts: Mapping[str, dict[str, HostObject]] = self._parts.get(host, {})
        for name in self._revisions:
            if name in parts:
                yield parts[name]

    def _difference(self, host: str, keys: Collection[str]) -> Update:
        have = {key: part[key] for part in self._known(host) for key in keys if key in part}
        gone = tuple(key for key in keys if key not in have)
        return Update(revision=self._revision, objects=tuple(have.values()), gone=gone)

    def _complete(self, host: str) -> Update:
        objects = {key: item for part in self._known(host) for key, item in part.items()}
        unknown = tuple(sorted(self._unknown))
        return Update(revision=self._revision, objects=tuple(objects.values()), complete=True, unknown=unknown)

    def ask(self, host: str, look: Look) -> bool:
        """Hand a question to who follows a host; return whether anybody does."""
        with self._lock:
            followers = self._followers.get(host, ())
            for follower in followers:
                follower(Update(revision=self._revision, looks=(look,)))
            return bool(followers)

    def followed(self) -> int:
        """Return how many hosts somebody follows: those that are connected."""
        return len(self._followers)

    def follow(self, host: str, follower: Follower) -> Callable[[], None]:
        """Call `follower` with the complete state (now, or as soon as it is known), then with every change.

        `follower` is called under a lock and must be quick. Returns what ends it.
        """
        with self._lock:
            self._followers[host].append(follower)
            if self._begun:
                follower(self._complete(host))

        def end() -> None:
            with self._lock:
                self._followers[host].remove(follower)
                if not self._followers[host]:
                    del self._followers[host]

        return end


def _set(part: dict[str, HostObject], touched: set[str], item: HostObject) -> str:
    key = key_of(item)
    if part.get(key) != item:
        part[key] = item
        touched.add(key)
    return key
