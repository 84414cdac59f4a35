# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from portico.errors import Conflict, NotFound, OverQuota
from portico.rules import lookup, security_group
from portico.rules.context import Context, Row
from portico.store import journal
from portico.store.query import Filter, Query
from portico.store.store import Store
from portico.store.transaction import Transaction
from portico.testing.statements import asked

Make = Callable[..., Row]


def said(rules: list[Row]) -> set[tuple[str, str, str | None]]:
    return {(rule["direction"], rule["ethertype"], rule["remote_group_id"]) for rule in rules}


def use(tx: Transaction, group: Row, port_id: str = "port-1") -> None:
    tx.connection.execute(tx.tables.port_group.insert(), {"port_id": port_id, "group_id": group["id"]})


def shown(tx: Transaction, context: Context, *groups: Row) -> list[Row]:
    return security_group.present(tx, context, [dict(group) for group in groups])


def test_a_new_group_lets_everything_out_and_nothing_in(store: Store, context: Context, create: Make) -> None:
    with store.write() as tx:
        (group,) = shown(tx, context, create(tx, context, "security_group", name="web"))
    assert said(group["security_group_rules"]) == {("egress", "IPv4", None), ("egress", "IPv6", None)}
    assert {rule["tenant_id"] for rule in group["security_group_rules"]} == {"red"}


def test_the_default_group_also_lets_its_own_members_in(store: Store, context: Context) -> None:
    with store.write() as tx:
        own = security_group.ensure_default(tx, context, "red")
        (group,) = shown(tx, context, lookup.get(tx, "security_group", own))
    assert group["name"] == "default"
    assert said(group["security_group_rules"]) == {
        ("egress", "IPv4", None),
        ("egress", "IPv6", None),
        ("ingress", "IPv4", own),
        ("ingress", "IPv6", own),
    }


def test_a_project_has_one_default_group_and_every_project_its_own(store: Store, context: Context) -> None:
    with store.write() as tx:
        red = security_group.ensure_default(tx, context, "red")
        blue = security_group.ensure_default(tx, context, "blue")
    with store.write() as tx:
        assert security_group.ensure_default(tx, context, "red") == red != blue
        assert len(tx.find("security_group")) == 2


def test_the_first_group_of_a_project_brings_the_default_one(store: Store, context: Context, create: Make) -> None:
    with store.write() as tx:
        create(tx, context, "security_group", name="web")
        assert {group["name"] for group in tx.find("security_group", project_id="red")} == {"web", "default"}


def test_listing_shows_the_default_group_of_the_asking_project_and_writes_only_once(
    store: Store, context: Context
) -> None:
    for _ in range(2):
        security_group.before_list(store, context, Query())
    with store.read() as tx:
        assert [group["name"] for group in tx.find("security_group", project_id="red")] == ["default"]
        assert journal.newest(tx) == 1


def owners_after_asking_for(store: Store, context: Context, *project_ids: str) -> set[str]:
    security_group.before_list(store, context, Query(filters=(Filter("project_id", project_ids),)))
    with store.read() as tx:
        return {group["project_id"] for group in tx.find("security_group")}


def test_an_administrator_finds_the_default_group_of_the_project_he_asks_for(
    store: Store, context: Context, admin: Context
) -> None:
    assert owners_after_asking_for(store, context, "blue") == {"red"}
    assert owners_after_asking_for(store, admin, "blue") == {"red", "blue"}


@pytest.mark.parametrize("project_id", ["", "x" * 256, "a\0b"])
def test_no_group_is_made_for_what_cannot_be_a_project(store: Store, admin: Context, project_id: str) -> None:
    assert owners_after_asking_for(store, admin, project_id) == {admin.project_id}


def test_the_default_group_is_made_whatever_the_quotas(store: Store, make_context: Callable[..., Context]) -> None:
    tight = make_context(security_group=0, security_group_rule=3)
    security_group.before_list(store, tight, Query())
    with store.read() as tx:
        assert len(tx.find("security_group_rule", project_id="red")) == tx.used("security_group_rule", "red") == 4
        assert tx.used("security_group", "red") == 1


@pytest.mark.parametrize("name", ["default", "Default"])
def test_no_second_group_is_called_default(store: Store, context: Context, create: Make, name: str) -> None:
    with store.write() as tx:
        group = create(tx, context, "security_group", name="web")
        with pytest.raises(Conflict) as created:
            security_group.create(tx, context, {"name": name, "project_id": "red"})
        with pytest.raises(Conflict) as renamed:
            security_group.update(tx, context, group, {"name": name})
    assert created.value.type == renamed.value.type == "SecurityGroupDefaultAlreadyExists"


def test_the_default_group_keeps_its_name_but_not_its_description(store: Store, context: Context, update: Make) -> None:
    with store.write() as tx:
        group = lookup.get(tx, "security_group", security_group.ensure_default(tx, context, "red"))
        with pytest.raises(Conflict) as caught:
            update(tx, context, "security_group", group, name="other")
        assert update(tx, context, "security_group", group, description="ours")["description"] == "ours"
    assert caught.value.type == "SecurityGroupCannotUpdateDefault"


def test_only_an_administrator_deletes_a_default_group(store: Store, context: Context, admin: Context) -> None:
    with store.write() as tx:
        group = lookup.get(tx, "security_group", security_group.ensure_default(tx, context, "red"))
        with pytest.raises(Conflict) as caught:
            security_group.delete(tx, context, group)
        security_group.delete(tx, admin, group)
        assert tx.find("security_group") == tx.find("security_group_rule") == []
    assert caught.value.type == "SecurityGroupCannotRemoveDefault"


def test_a_group_that_filters_a_port_stays_and_the_port_is_named(store: Store, context: Context, create: Make) -> None:
    with store.write() as tx:
        group = create(tx, context, "security_group", name="web")
        use(tx, group)
        tx.insert("port", {"id": "port-1", "project_id": "red", "network_id": "n"})
        with pytest.raises(Conflict, match="in use by port port-1: ") as caught:
            security_group.delete(tx, context, group)
    assert caught.value.type == "SecurityGroupInUse"


def test_stateful_changes_only_while_no_port_uses_the_group(
    store: Store, context: Context, create: Make, update: Make
) -> None:
    with store.write() as tx:
        group = create(tx, context, "security_group", name="web")
        group = update(tx, context, "security_group", group, stateful=False)
        assert group["stateful"] is False
        use(tx, group)
        assert update(tx, context, "security_group", group, stateful=False)["stateful"] is False
        with pytest.raises(Conflict) as caught:
            update(tx, context, "security_group", group, stateful=True)
    assert caught.value.type == "SecurityGroupInUse"


def test_deleting_a_group_deletes_the_rules_that_name_it_and_changes_their_groups(
    store: Store, context: Context, create: Make
) -> None:
    with store.write() as tx:
        gone, kept = (create(tx, context, "security_group", name=name) for name in ("gone", "kept"))
        for remote in (gone, kept):
            create(tx, context, "security_group_rule", security_group_id=kept["id"], direction="ingress",
                   remote_group_id=remote["id"])  # fmt: skip
    with store.write() as tx:
        security_group.delete(tx, context, lookup.get(tx, "security_group", gone["id"]))
        rules = tx.find("security_group_rule", security_group_id=kept["id"])
        assert {rule["remote_group_id"] for rule in rules} == {None, kept["id"]}
        assert tx.find("security_group_rule", security_group_id=gone["id"]) == []
        assert lookup.get(tx, "security_group", kept["id"])["revision_number"] == tx.revision


def test_what_is_shown_takes_two_queries_for_any_number_of_groups(store: Store, context: Context, create: Make) -> None:
    with store.write() as tx:
        groups = [create(tx, context, "security_group", name=f"g{number}") for number in range(20)]
    with asked(store) as statements, store.read() as tx:
        rows = shown(tx, context, *groups)
    assert len(statements) == 2
    assert [len(row["security_group_rules"]) for row in rows] == [2] * 20


def test_groups_and_their_first_rules_count_against_the_quota(
    store: Store, make_context: Callable[..., Context], create: Make
) -> None:
    with store.write() as tx:
        # The default group is made besides, as in Neutron, and counts from then on.
        create(tx, make_context(security_group=1), "security_group", name="web")
        with pytest.raises(OverQuota, match="security_group'"):
            create(tx, make_context(security_group=2), "security_group", name="mail")
        with pytest.raises(OverQuota, match="security_group_rule"):
            create(tx, make_context(security_group_rule=7), "security_group", name="mail")
        create(tx, make_context(security_group_rule=10, security_group=4), "security_group", name="news")


def test_a_group_that_does_not_exist_is_named_in_neutrons_words(store: Store) -> None:
    with store.read() as tx, pytest.raises(NotFound) as caught:
        lookup.get(tx, "security_group", "nowhere")
    assert (caught.value.type, caught.value.message) == (
        "SecurityGroupNotFound",
        "Security group nowhere does not exist.",
    )


def test_a_port_leaves_the_groups_that_it_no_longer_names_and_keeps_the_others(store: Store) -> None:
    with store.write() as tx:
        security_group.link(tx, "p", (), ("a", "b", "c"))
        security_group.link(tx, "q", (), ("a", "b"))
        security_group.link(tx, "p", ("a", "b", "c"), ("c", "d"))
        links = tx.tables.port_group
        kept = tx.connection.execute(sa.select(links.c.port_id, links.c.group_id).order_by(*links.c)).all()
    assert [tuple(row) for row in kept] == [("p", "c"), ("p", "d"), ("q", "a"), ("q", "b")]
