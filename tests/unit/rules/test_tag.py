# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from portico.errors import BadRequest, NotFound
from portico.rules import lookup, tag
from portico.rules.context import Row
from portico.store.query import Filter, Query
from portico.store.store import Store
from portico.store.transaction import Transaction


@pytest.fixture
def network(store: Store) -> Callable[[Transaction], Row]:
    """Read the one network there is."""
    with store.write() as tx:
        tx.insert("network", {"id": "n1", "project_id": "red", "tags": []})
    return lambda tx: lookup.get(tx, "network", "n1")


Read = Callable[[Transaction], Row]


def test_tags_are_set_added_checked_and_removed(store: Store, network: Read) -> None:
    with store.write() as tx:
        assert tag.replace(tx, "network", network(tx), {"tags": ["b", "a"]}) == {"tags": ["a", "b"]}
        assert tag.add_many(tx, "network", network(tx), {"tags": ["c", "a"]}) == {"tags": ["c", "a"]}
        tag.add(tx, "network", network(tx), "d")
        tag.add(tx, "network", network(tx), "d")
        assert tag.get(network(tx)) == {"tags": ["a", "b", "c", "d"]}
        tag.check(network(tx), "d")
        tag.remove(tx, "network", network(tx), "b")
        assert tag.get(network(tx)) == {"tags": ["a", "c", "d"]}
        assert tag.replace(tx, "network", network(tx), {"tags": ["x"]}) == {"tags": ["x"]}
        tag.clear(tx, "network", network(tx))
        assert tag.get(network(tx)) == {"tags": []}


def test_lists_find_objects_by_tags_that_were_set(store: Store, network: Read) -> None:
    def found(name: str) -> int:
        return len(tx.list("network", Query(filters=(Filter("tags", (name,), "tags_all"),))))

    with store.write() as tx:
        tag.replace(tx, "network", network(tx), {"tags": ["a", "b"]})
        assert (found("a"), found("b"), found("c")) == (1, 1, 0)
        tag.remove(tx, "network", network(tx), "a")
        assert (found("a"), found("b")) == (0, 1)


def test_a_tag_that_is_not_there_is_not_found(store: Store, network: Read) -> None:
    with store.write() as tx:
        with pytest.raises(NotFound, match="Tag x could not be found") as checked:
            tag.check(network(tx), "x")
        with pytest.raises(NotFound) as removed:
            tag.remove(tx, "network", network(tx), "x")
    assert checked.value.type == removed.value.type == "TagNotFound"


def test_only_a_change_gives_a_new_revision(store: Store, network: Read) -> None:
    with store.write() as tx:
        tag.add(tx, "network", network(tx), "a")
        assert network(tx)["revision_number"] == tx.revision == 2
    with store.write() as tx:
        tag.add(tx, "network", network(tx), "a")
        tag.replace(tx, "network", network(tx), {"tags": ["a"]})
        assert network(tx)["revision_number"] == 2


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"tags": None}, {"tags": "a"}, {"tags": [1]}, {"tags": ["a", "a"]}, {"tags": ["x" * 256]},
     {"tags": ["\0"]}, {"tags": ["\ud800"]}],
)  # fmt: skip
def test_what_is_no_list_of_tags_is_refused(store: Store, network: Read, body: Any) -> None:
    with store.write() as tx:
        for write in (tag.replace, tag.add_many):
            with pytest.raises(BadRequest) as caught:
                write(tx, "network", network(tx), body)
            assert caught.value.type == "InvalidInput"


def test_an_object_has_fifty_tags_at_most(store: Store, network: Read) -> None:
    fifty = [f"t{number}" for number in range(50)]
    with store.write() as tx:
        with pytest.raises(BadRequest, match="51 tags"):
            tag.replace(tx, "network", network(tx), {"tags": [*fifty, "one more"]})
        tag.replace(tx, "network", network(tx), {"tags": fifty})
        with pytest.raises(BadRequest, match="51 tags"):
            tag.add(tx, "network", network(tx), "one more")
        tag.add(tx, "network", network(tx), "t7")
        tag.replace(tx, "network", network(tx), {"tags": ["x" * 255]})
