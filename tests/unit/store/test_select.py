# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.store import select
from portico.store.query import Filter, Query
from portico.store.store import Store
from portico.store.transaction import Transaction

Row = dict[str, Any]

# Columns of each type that a list can be sorted by, and their few values, so that many rows agree in them.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from([None, "", "a", "b", "A", "é", "%_", "'"]),
    "mtu": st.sampled_from([None, 0, 1, 1500]),
    "admin_state_up": st.sampled_from([None, False, True]),
    "created_at": st.sampled_from([None, "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"]),
}
rows_of_a_list = st.lists(st.fixed_dictionaries(VALUES), max_size=12)
orders = st.lists(
    st.tuples(st.sampled_from([*VALUES, "id"]), st.booleans()), max_size=4, unique_by=lambda item: item[0]
).map(tuple)


def fill(tx: Transaction, rows: list[Row]) -> str:
    """Add networks to a new project and return the project."""
    project_id = str(uuid.uuid4())
    for row in rows:
        row |= {"id": str(uuid.uuid4()), "project_id": project_id}
    if rows:
        tx.connection.execute(tx.tables.of["network"].insert(), rows)
    return project_id


def in_order(rows: list[Row], order: tuple[tuple[str, bool], ...]) -> list[str]:
    """Return the ids of sorted rows; nothing sorts as the least value there is, and the id decides in the end."""
    least: Row = {"name": "", "mtu": 0, "admin_state_up": False, "created_at": "", "id": ""}
    rows = sorted(rows, key=lambda row: row["id"])
    for name, descending in reversed(order):
        rows.sort(key=lambda row: least[name] if row[name] is None else row[name], reverse=descending)
    return [row["id"] for row in rows]


def page_through(tx: Transaction, query: Query) -> list[list[str]]:
    """Follow the markers to the end; backwards, pages come last one first."""
    pages: list[list[str]] = []
    marker = None
    while True:
        asked = Query(query.filters, query.sort, query.limit, marker, query.reverse)
        page = [row["id"] for row in tx.list("network", asked)]
        if not page:
            return pages
        pages.append(page)
        marker = page[0] if query.reverse else page[-1]


@settings(max_examples=150, deadline=None)
@given(rows=rows_of_a_list, order=orders, limit=st.integers(1, 5))
def test_pages_put_together_are_the_whole_list_in_both_directions(
    lasting_store: Store, rows: list[Row], order: tuple[tuple[str, bool], ...], limit: int
) -> None:
    with lasting_store.write() as tx:
        mine = (Filter("project_id", (fill(tx, rows),)),)
        expected = in_order(rows, order)
        assert [row["id"] for row in tx.list("network", Query(mine, order))] == expected
        forwards = page_through(tx, Query(mine, order, limit))
        backwards = page_through(tx, Query(mine, order, limit, reverse=True))
    assert [item for page in forwards for item in page] == expected
    assert [item for page in reversed(backwards) for item in page] == expected
    assert all(len(page) == limit for page in forwards[:-1] + backwards[:-1])


@settings(max_examples=60, deadline=None)
@given(rows=rows_of_a_list, name=st.sampled_from(sorted(VALUES)), data=st.data())
def test_equality_finds_what_python_finds_and_none_finds_what_has_no_value(
    lasting_store: Store, rows: list[Row], name: str, data: st.DataObject
) -> None:
    wanted = data.draw(st.lists(VALUES[name], max_size=3))
    with lasting_store.write() as tx:
        query = Query((Filter("project_id", (fill(tx, rows),)), Filter(name, tuple(wanted))))
        found = {row["id"] for row in tx.list("network", query)}
    assert found == {row["id"] for row in rows if row[name] in wanted}


@settings(max_examples=60, deadline=None)
@given(
    rows=rows_of_a_list,
    text=st.sampled_from(["a", "A", "%", "_", "é", "'", ""]),
    operator=st.sampled_from(["contains", "prefix"]),
)
def test_substrings_are_taken_literally(lasting_store: Store, rows: list[Row], text: str, operator: Any) -> None:
    with lasting_store.write() as tx:
        query = Query((Filter("project_id", (fill(tx, rows),)), Filter("name", (text,), operator)))
        found = {row["id"] for row in tx.list("network", query)}
    names = {row["id"]: row["name"] for row in rows if row["name"] is not None}
    if operator == "contains":
        assert found == {key for key, name in names.items() if text in name}
    else:
        assert found == {key for key, name in names.items() if name.startswith(text)}


def test_a_marker_that_is_no_object_is_refused(store: Store) -> None:
    with store.read() as tx, pytest.raises(LookupError, match="nowhere"):
        tx.list("network", Query(limit=1, marker="nowhere"))


def test_tags_are_found_by_all_and_any_and_their_opposites(store: Store) -> None:
    def found(operator: Any, *tags: str) -> set[str]:
        return {row["id"] for row in tx.list("network", Query((Filter("tags", tags, operator),)))}

    with store.write() as tx:
        for name, tags in (("none", []), ("a", ["a"]), ("b", ["b"]), ("ab", ["a", "b"])):
            tx.insert("network", {"id": name, "project_id": "red", "tags": tags})
        # The same id and tag on another kind of object must not count.
        tx.insert("subnet", {"id": "none", "project_id": "red", "tags": ["a", "b"]})
        assert found("tags_all", "a", "b") == {"ab"}
        assert found("tags_any", "a", "b") == {"a", "b", "ab"}
        assert found("not_tags_all", "a", "b") == {"none", "a", "b"}
        assert found("not_tags_any", "a", "b") == {"none"}


def test_ports_are_found_by_address_part_of_it_subnet_and_group(store: Store) -> None:
    def found(operator: Any, *values: str) -> set[str]:
        return {row["id"] for row in tx.list("port", Query((Filter("fixed_ips", values, operator),)))}

    with store.write() as tx:
        for number, (port_id, subnet_id, ip) in enumerate(
            [("p1", "s1", "192.0.2.1"), ("p1", "s2", "2001:db8::1"), ("p2", "s1", "192.0.2.11")]
        ):
            address = {"subnet_id": subnet_id, "address": f"{number:032x}", "ip": ip, "port_id": port_id}
            tx.connection.execute(tx.tables.address.insert(), address)
        for number, port_id in enumerate(("p1", "p2", "p3")):
            row = {"id": port_id, "project_id": "red", "network_id": "n", "mac_address": f"02:00:00:00:00:0{number}"}
            tx.insert("port", row)
        tx.connection.execute(tx.tables.port_group.insert(), {"port_id": "p2", "group_id": "g1"})
        assert found("address", "192.0.2.1") == {"p1"}
        assert found("address_contains", "192.0.2.1") == {"p1", "p2"}
        assert found("address_contains", "%", "_") == set()
        assert found("subnet", "s2") == {"p1"}
        assert found("subnet", "s1", "s2") == {"p1", "p2"}
        assert found("group", "g1") == {"p2"}


def test_a_list_by_the_same_attributes_is_asked_for_by_the_same_statement(store: Store) -> None:
    tables = store.tables

    def kept(*filters: Filter, **more: Any) -> Any:
        return select.kept_page(tables, "network", Query(filters, (("name", True),), **more), None)

    one, other = (kept(Filter("name", values), limit=9) for values in (("a", "b"), ("c", "d")))
    assert one[0] is other[0] and list(other[1].values()) == ["c", "d"]
    for different in (kept(Filter("name", ("a",)), limit=9), kept(Filter("name", ("a", "b")), limit=8)):
        assert different[0] is not one[0]
    not_kept = [
        kept(Filter("name", ("a",)), marker="f0000000-0000-4000-8000-000000000001"),
        kept(Filter("name", ("a", None))),
        kept(Filter("name", ())),
        kept(Filter("name", tuple(map(str, range(9))))),
        kept(Filter("name", ("a",), "contains")),
    ]
    assert not_kept == [None] * 5
