# SPDX-License-Identifier: Apache-2.0
"""What a rule knows besides the transaction: who asks, what the backends admit, and the settings that matter."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa

from portico.contract import Binding, Capabilities
from portico.store.query import Query
from portico.store.store import Store
from portico.store.tables import Tables
from portico.store.transaction import Transaction

Row = dict[str, Any]


class Broker(Protocol):
    """What rules ask the backends inside a request: both are pure and quick."""

    def admit(
        self,
        resource: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any],
        network: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse with `Unsupported` what is not realised: of an object on a `network`, by the network's backend."""

    def bind(self, port: Mapping[str, Any], network: Mapping[str, Any]) -> Binding:
        """Return how the port is reached on its binding:host_id."""

    def choose(
        self, project_id: str, backend: str | None, network_type: str | None, before: str = "", /
    ) -> tuple[str, str]:
        """Return backend and type of a network that names what is not None; `Unsupported` if that cannot be.

        Of a network that names no type the one that it had `before` stays, if the backend has it.
        """

    def capabilities(self, backend: str, /) -> Capabilities:
        """Return what a backend realises; of one that is not installed, nothing."""

    def offered(self, project_id: str, /) -> tuple[str, ...]:
        """Return the backends that a project's members may choose."""


class Limits(msgspec.Struct, frozen=True):
    """Settings that rules follow. `quotas` maps a resource's name to the default limit (-1: none).

    `vlan_ranges` are physical networks with first and last VLAN ID, for networks that name none.
    `block_v4` and `block_v6` are the lengths of the prefixes of hosts' blocks.
    """

    quotas: Mapping[str, int]
    mtu: int
    mac_base: str
    dns_domain: str
    default_project: str
    block_v4: int = 26
    block_v6: int = 122
    vlan_ranges: tuple[tuple[str, int, int], ...] = ()


class Policy(Protocol):
    """What is asked about permission; `portico.policy` answers."""

    def visible(self, tables: Tables, context: Context, resource: str, /) -> sa.ColumnElement[bool] | None:
        """Return the condition on rows of `resource` that who asks may see; None when that is all of them."""

    def secrets(self, context: Context, resource: str, /) -> Collection[str]:
        """Return the attributes of `resource` that who asks may not see of some object."""

    def hidden(
        self, tx: Transaction, context: Context, resource: str, rows: Sequence[Mapping[str, Any]], /
    ) -> Sequence[Collection[str]]:
        """Return, for each of the objects `rows`, the attributes that who asks may not see."""

    def require(
        self,
        tx: Transaction,
        context: Context,
        action: str,
        resource: str,
        row: Mapping[str, Any],
        given: Mapping[str, Any],
        /,
    ) -> None:
        """Refuse what who asks may not do.

        Args:
            action: a verb ("create", "update", "delete") or the name of a rule of its own ("add_prefixes").
            row: the object as it would be.
            given: the attributes that the request names, with their values.

        Raises:
            NotFound: the object that `row` belongs to is none that who asks may see.
            Forbidden: names the rule.
        """

    def refuse_whatever(self, context: Context, action: str, resource: str, /) -> None:
        """Refuse what who asks may do with no object at all, so that no answer depends on what there is.

        Raises:
            Forbidden: names the rule.
        """

    def allows(self, context: Context, name: str, /) -> bool:
        """Return whether who asks may do what the rule `name` is about, which no object has a say in."""


class Everything:
    """The policy of who may do all."""

    def visible(self, *_asked: object) -> None:
        """See Policy."""

    def secrets(self, *_asked: object) -> Collection[str]:
        """See Policy."""
        return ()

    def hidden(
        self, _tx: Transaction, _context: Context, _resource: str, rows: Sequence[Mapping[str, Any]], /
    ) -> Sequence[Collection[str]]:
        """See Policy."""
        return [()] * len(rows)

    def require(self, *_asked: object) -> None:
        """See Policy."""

    def refuse_whatever(self, *_asked: object) -> None:
        """See Policy."""

    def allows(self, *_asked: object) -> bool:
        """See Policy."""
        return True


class Context(msgspec.Struct, frozen=True):
    """Who asks. `project_id` is what the created objects belong to unless an administrator names another.

    `roles` are those of the user, `service_roles` those of the service that asks on the user's behalf. `system_scope`
    is "all" or empty, `domain_id` empty unless the user's token is for a domain.
    """

    project_id: str
    is_admin: bool
    limits: Limits
    broker: Broker
    roles: tuple[str, ...] = ()
    user_id: str = ""
    service_roles: tuple[str, ...] = ()
    system_scope: str = ""
    domain_id: str = ""
    policy: Policy = Everything()


class Create(Protocol):
    """Make an object from a validated body (unset attributes are absent) and return its row."""

    def __call__(self, tx: Transaction, context: Context, body: Row) -> Row: ...


class Update(Protocol):
    """Apply validated `changes` to `row` and return the new row."""

    def __call__(self, tx: Transaction, context: Context, row: Row, changes: Row) -> Row: ...


class Delete(Protocol):
    """Remove `row` or say what is in the way."""

    def __call__(self, tx: Transaction, context: Context, row: Row) -> None: ...


class Act(Protocol):
    """Do with `row` what an action asks for, given its validated body, and return the whole answer."""

    def __call__(self, tx: Transaction, context: Context, row: Row, body: Row) -> Row | list[Row]: ...


class Present(Protocol):
    """Add to rows (of one answer) the attributes that are computed when read; changes and returns them."""

    def __call__(self, tx: Transaction, context: Context, rows: list[Row]) -> list[Row]: ...


class BeforeList(Protocol):
    """Do, before a list is read, what listing brings about; opens its own transactions."""

    def __call__(self, store: Store, context: Context, query: Query) -> None: ...


class CheckBulk(Protocol):
    """Refuse bodies of one bulk request that do not go together."""

    def __call__(self, bodies: Sequence[Row]) -> None: ...


class Rules(msgspec.Struct, frozen=True):
    """The functions of one resource. None: the verb does not exist (405), or there is nothing to do.

    `actions` has those of every action in the resource's model, by name.
    """

    create: Create | None = None
    update: Update | None = None
    delete: Delete | None = None
    present: Present | None = None
    before_list: BeforeList | None = None
    check_bulk: CheckBulk | None = None
    actions: Mapping[str, Act] = {}
