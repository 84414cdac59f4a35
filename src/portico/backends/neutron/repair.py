# SPDX-License-Identifier: Apache-2.0
"""What the remote has of ours, and one pass that makes it what is wanted and reads it back."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from portico.backends.neutron import body
from portico.backends.neutron.plan import COLLECTIONS, Key, Signs, Wanted, seen, seen_rules
from portico.backends.neutron.remote import Broken, Refused, Remote, Row
from portico.errors import NotFound, Unavailable

LOG = logging.getLogger(__name__)

BROKEN_MAX = 3
"""After so many server errors in a row the remote is taken to be ill, and left alone for a while."""


class There:
    """What the remote has of ours: a cache, made from nothing by `read`."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.ids: dict[Key, str] = {}
        """The remote's ids by ours."""
        self.ours: dict[str, str] = {}
        """Our ids by the remote's."""
        self.spare: list[tuple[str, str]] = []
        """Resource and remote id of second objects with one sign, as a create whose answer was lost leaves them."""

    def put(self, key: Key, row: Row) -> None:
        """Note what the remote has for one of ours."""
        self.rows[key], self.ids[key] = row, row["id"]
        self.ours[row["id"]] = key[1]

    def drop(self, key: Key) -> None:
        """Note that it has none."""
        del self.rows[key]
        del self.ours[self.ids.pop(key)]


def read(remote: Remote, signs: Signs) -> There:
    """Return all that carries our sign; of several with one sign the oldest counts that was tagged, too."""
    there = There()
    for resource, collection in COLLECTIONS.items():
        rows = [(signs.read(row), row) for row in remote.read(collection)]
        for our_id, row in sorted(rows, key=lambda pair: _age(signs, *pair)):
            if not our_id:
                continue
            if (resource, our_id) in there.rows:
                there.spare.append((resource, row["id"]))
            else:
                there.put((resource, our_id), row)
    return there


def _age(signs: Signs, our_id: str, row: Row) -> tuple[bool, str, str]:
    """Return by what the objects with one sign are put into order; times are whole seconds there."""
    return signs.of(our_id) not in (row.get("tags") or ()), row.get("created_at") or "", row["id"]


class Repair:
    """One pass. `troubles` says, by our keys, what is not as wanted and why; the keys that went well are not in it."""

    def __init__(self, remote: Remote, signs: Signs, there: There, wanted: Mapping[Key, Wanted]) -> None:
        self._remote = remote
        self._signs = signs
        self._there = there
        self._wanted = wanted
        self._written: defaultdict[str, set[str]] = defaultdict(set)
        self._broken = 0
        self.troubles: dict[Key, str] = {}
        self.left = False
        """Whether something that is not wanted is still there."""

    def run(self) -> None:
        """Do what is to be done.

        Raises:
            Unavailable: the remote does not answer, or fails again and again; what was done stays done.
        """
        remade = self._remade()
        self._remove("port", lambda key: key not in self._wanted or key in remade)
        self._remove("subnet", lambda key: key in remade)
        self._put_all()
        if self.troubles:  # what one object had in the way may be gone with another's change
            self._put_all()
        for resource in ("subnet", "network", "security_group"):
            self._remove(resource, lambda key: key not in self._wanted)
        self._read_back()

    def _remade(self) -> set[Key]:
        """Return what differs in what cannot be changed, and the ports with addresses of such subnets."""
        ours = self._there.ours
        found = {
            key
            for key, item in self._wanted.items()
            if key in self._there.rows and seen(self._there.rows[key], item.fixed, ours) != dict(item.fixed)
        }
        subnets = {self._there.rows[key]["id"] for key in found if key[0] == "subnet"}
        for key, row in self._there.rows.items():
            if key[0] == "port" and any(item["subnet_id"] in subnets for item in row["fixed_ips"]):
                found.add(key)
        return found

    def _remove(self, resource: str, is_gone: Callable[[Key], bool]) -> None:
        """Remove the objects of ours that are gone, and spare ones."""
        keys = [key for key in self._there.rows if key[0] == resource and is_gone(key)]
        for key in keys:
            if self._delete(resource, self._there.rows[key]["id"], key):
                self._there.drop(key)
        for spare in [spare for spare in self._there.spare if spare[0] == resource]:
            if self._delete(resource, spare[1], None):
                self._there.spare.remove(spare)

    def _delete(self, resource: str, remote_id: str, key: Key | None) -> bool:
        trouble = self._try(lambda: self._remote.delete(COLLECTIONS[resource], remote_id))
        if trouble is None:
            return True
        self.left = True
        LOG.warning("%s: %s %s cannot be removed: %s", self._remote.name, resource, remote_id, trouble)
        if key is not None and key in self._wanted:
            self.troubles[key] = trouble
        return False

    def _put_all(self) -> None:
        for key, item in self._wanted.items():
            trouble = self._blocked(item) or self._try(lambda item=item: self._put(item))  # type: ignore[misc]
            self._note(key, trouble)
        for key, item in self._wanted.items():
            if key[0] == "security_group" and key in self._there.rows:
                # Whatever else of the group was refused: its rules say who gets in.
                trouble = self._try(lambda item=item: self._put_rules(item))  # type: ignore[misc]
                if trouble is not None:
                    self.troubles.setdefault(key, trouble)

    def _note(self, key: Key, trouble: str | None) -> None:
        if trouble is None:
            self.troubles.pop(key, None)
        else:
            self.troubles[key] = trouble

    def _blocked(self, item: Wanted) -> str | None:
        for need in item.needs:
            if need not in self._there.rows:
                words = f"{need[0].replace('_', ' ')} {need[1]} is not there"
                return f"{words}: {self.troubles[need]}" if need in self.troubles else words
        return None

    def _put(self, item: Wanted) -> None:
        collection = COLLECTIONS[item.key[0]]
        row = self._there.rows.get(item.key)
        if row is None:
            self._put_row(item.key, self._remote.create(collection, body.of_new(item, self._there.ids)))
        elif names := self._differing(item, row):
            changes = body.of_changes(item, row, names, self._there.ids, self._there.ours)
            with self._present(item.key):
                self._put_row(item.key, self._remote.update(collection, row["id"], changes))
        row, tag = self._there.rows[item.key], self._signs.of(item.key[1])
        tags = row.get("tags") or []
        if tag not in tags:
            with self._present(item.key):
                self._remote.tag(collection, row["id"], tag)
            self._put_row(item.key, {**row, "tags": [*tags, tag]})

    def _put_row(self, key: Key, row: Row) -> None:
        self._there.put(key, row)
        self._written[key[0]].add(row["id"])

    @contextmanager
    def _present(self, key: Key) -> Iterator[None]:
        """Write to an object that is there; one that is gone meanwhile is forgotten, and made in the next round."""
        try:
            yield
        except NotFound:
            self._there.drop(key)
            raise

    def _differing(self, item: Wanted, row: Row) -> list[str]:
        there = seen(row, item.values, self._there.ours)
        return [name for name, value in item.values.items() if there[name] != value]

    def _put_rules(self, item: Wanted) -> None:
        row = self._there.rows[item.key]
        for group_id in {rule.group for rule in item.rules if rule.group}:
            if ("security_group", group_id) not in self._there.rows:
                raise Refused(f"security group {group_id}, which a rule names, is not there")
        there = seen_rules(row, self._there.ours)
        extra = [rule_id for rule_id, rule in there.items() if rule not in item.rules]
        missing = item.rules - set(there.values())
        if not extra and not missing:
            return
        if missing:
            self._remote.create_many("security-group-rules", body.of_rules(row["id"], missing, self._there.ids))
        for rule_id in extra:
            self._remote.delete("security-group-rules", rule_id)
        for found in self._remote.read("security-groups", [row["id"]]):
            self._put_row(item.key, found)

    def _try(self, write: Callable[[], object]) -> str | None:
        """Return why a write was refused.

        Raises:
            Unavailable: the remote fails again and again.
        """
        try:
            write()
        except (Refused, NotFound) as error:
            self._broken = 0
            return error.message
        except Broken as error:
            self._broken += 1
            if self._broken >= BROKEN_MAX:
                raise Unavailable(f"{self._remote.name}: {error.message}") from error
            return error.message
        self._broken = 0
        return None

    def _read_back(self) -> None:
        """Look at what was written: an answer is no proof."""
        for resource, remote_ids in self._written.items():
            found = {row["id"]: row for row in self._remote.read(COLLECTIONS[resource], sorted(remote_ids))}
            for key, row in [pair for pair in self._there.rows.items() if pair[0][0] == resource]:
                if row["id"] in found:
                    self._there.put(key, found[row["id"]])
                elif row["id"] in remote_ids:
                    self._there.drop(key)
                    self.troubles.setdefault(key, f"the remote has no {resource.replace('_', ' ')} {row['id']}")
        for key, why in self._not_as_put():
            self.troubles.setdefault(key, why)

    def _not_as_put(self) -> Iterator[tuple[Key, str]]:
        for key, item in self._wanted.items():
            row = self._there.rows.get(key)
            if row is None or row["id"] not in self._written[key[0]]:
                continue
            for name in self._differing(item, row):
                yield key, f"the remote has {name} {row.get(name)} where {_plain(item.values[name])} was put"
            if item.key[0] == "security_group" and set(seen_rules(row, self._there.ours).values()) != item.rules:
                yield key, "the remote has other rules than were put there"


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value
