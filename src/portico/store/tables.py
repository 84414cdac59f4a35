# SPDX-License-Identifier: Apache-2.0
"""Database tables, derived from the registry, plus the few that no resource owns."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from portico.model.resource import Attribute, Registry, Resource

# Addresses are kept as 32 hexadecimal digits (an IPv4 address is padded with zeros on the left), so that the order
# of the text is the order of the addresses on every database.
ADDRESS_DIGITS = 32


def text(length: int) -> sa.types.TypeEngine[str]:
    """Return the type of a column for text, which sorts by code points on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


TEXT = text(255)

# What is looked for inside a request, besides references: such a look must not cost more the more objects there are.
INDEXES = {"port": (("network_id", "device_owner"), ("network_id", "binding:vif_type"))}

_SIZED = re.compile(r"string\((\d+)\)")


def column_type(attribute: Attribute) -> sa.types.TypeEngine[Any]:
    """Return the column type that `attribute.column` names.

    Raises:
        ValueError: the model names a type that the store does not know.
    """
    if sized := _SIZED.fullmatch(attribute.column):
        return text(int(sized[1]))
    match attribute.column:
        case "integer":
            return sa.Integer()
        case "bigint":
            return sa.BigInteger()
        case "boolean":
            return sa.Boolean()
        case "datetime":
            return text(32)
        case "text":
            return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
        case "json":
            return sa.JSON(none_as_null=True)
    raise ValueError(f"attribute {attribute.name}: column {attribute.column!r} is no column type")


def _resource_table(metadata: sa.MetaData, resource: Resource) -> sa.Table:
    columns = [
        sa.Column(attribute.name, column_type(attribute), primary_key=attribute.primary_key)
        for attribute in resource.attributes.values()
        if attribute.column
    ]
    uniques = [sa.UniqueConstraint(*names, name=f"uq_{resource.name}_{'_'.join(names)}") for names in resource.unique]
    indexes = [
        sa.Index(f"ix_{resource.name}_{attribute.name}", attribute.name)
        for attribute in resource.attributes.values()
        if attribute.column and (attribute.references or attribute.name in ("project_id", "device_id"))
    ]
    indexes += [sa.Index(f"ix_{resource.name}_{'_'.join(names)}", *names) for names in INDEXES.get(resource.name, ())]
    return sa.Table(resource.name, metadata, *columns, *uniques, *indexes)


def _referrers(registry: Registry) -> dict[str, list[tuple[str, Attribute]]]:
    found: defaultdict[str, list[tuple[str, Attribute]]] = defaultdict(list)
    for resource in registry.services:
        for attribute in resource.attributes.values():
            if attribute.references and attribute.column:
                found[attribute.references].append((resource.name, attribute))
    return dict(found)


class Tables:
    """All tables of a registry.

    `of` maps a resource's name to its table. The others:
    `revision` holds the one global revision, and which server is the only one that is to be told of commits, if it is
    known to be; `journal` what each revision changed; `address` the addresses in use, of
    which `free_range` holds the complement inside the allocation pools; `cursor` where the next address is looked for;
    `port_group` which ports a security group filters; `tag` the tags of every resource; `status` why an object is not
    as wanted; `usage` and `quota` how many objects a project has and may have.
    """

    def __init__(self, registry: Registry) -> None:
        self.metadata = sa.MetaData()
        self.of: Mapping[str, sa.Table] = {
            resource.name: _resource_table(self.metadata, resource)
            for resource in registry.resources.values()
            if any(attribute.column for attribute in resource.attributes.values())
        }
        # The parent of each resource whose objects are parts of others', and the column that holds its id.
        self.parents: Mapping[str, tuple[str, str]] = {
            one.name: (one.parent.name, one.parent_key) for one in registry.resources.values() if one.parent is not None
        }
        # Attributes of other packages' resources that hold ids of a resource, by its name.
        self.referrers: Mapping[str, Sequence[tuple[str, Attribute]]] = _referrers(registry)
        self._history()
        self._addresses()
        self._links()
        self._limits()

    def _history(self) -> None:
        self.revision = self._table(
            "revision",
            sa.Column("id", sa.Integer, primary_key=True),
            _number("number"),
            sa.Column("only_listener", text(32)),
        )
        self.journal = self._table(
            "journal",
            sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("resource", TEXT, nullable=False),
            sa.Column("id", TEXT, nullable=False),
            sa.Column("project_id", TEXT, nullable=False),
            sa.Column("change", text(16), nullable=False),
        )

    def _addresses(self) -> None:
        self.address = self._table(
            "address",
            sa.Column("subnet_id", text(36), primary_key=True),
            sa.Column("address", text(ADDRESS_DIGITS), primary_key=True),
            sa.Column("ip", text(64), nullable=False, index=True),
            sa.Column("port_id", text(36), nullable=False, index=True),
        )
        self.free_range = self._table(
            "free_range",
            sa.Column("subnet_id", text(36), primary_key=True),
            sa.Column("first", text(ADDRESS_DIGITS), primary_key=True),
            sa.Column("last", text(ADDRESS_DIGITS), nullable=False),
        )
        self.cursor = self._table(
            "cursor",
            sa.Column("subnet_id", text(36), primary_key=True),
            sa.Column("next", text(ADDRESS_DIGITS), nullable=False),
        )

    def _links(self) -> None:
        self.port_group = self._table(
            "port_group",
            sa.Column("port_id", text(36), primary_key=True),
            sa.Column("group_id", text(36), primary_key=True, index=True),
        )
        self.tag = self._table(
            "tag",
            sa.Column("resource", TEXT, primary_key=True),
            sa.Column("id", text(36), primary_key=True),
            sa.Column("tag", TEXT, primary_key=True),
        )
        self.status = self._table(
            "status",
            sa.Column("resource", TEXT, primary_key=True),
            sa.Column("id", text(36), primary_key=True),
            sa.Column("reason", sa.Text, nullable=False),
        )

    def _limits(self) -> None:
        self.usage = self._table(
            "usage",
            sa.Column("project_id", TEXT, primary_key=True),
            sa.Column("resource", TEXT, primary_key=True),
            sa.Column("used", sa.Integer, nullable=False),
        )
        self.quota = self._table(
            "quota",
            sa.Column("project_id", TEXT, primary_key=True),
            sa.Column("resource", TEXT, primary_key=True),
            sa.Column("limit", sa.Integer, nullable=False),
        )

    def _table(self, name: str, *columns: sa.Column[object]) -> sa.Table:
        return sa.Table(name, self.metadata, *columns)


def _number(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger, nullable=False)
