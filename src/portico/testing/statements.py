# SPDX-License-Identifier: Apache-2.0
"""What a database is asked, whether by SQLAlchemy or past it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from portico.store.store import Store

if TYPE_CHECKING:
    from portico.store.pipeline import Statement


@contextmanager
def asked(store: Store) -> Iterator[list[str]]:
    """Note the statements of transactions that begin meanwhile, in their order and without parameters' values."""
    found: list[str] = []
    exchange = store.database.exchange

    def note(connection: sa.Connection, statements: Sequence[Statement]) -> Any:
        found.extend(str(statement) for statement, _ in statements)
        return exchange(connection, statements)

    def note_sqlalchemys(*about: Any) -> None:
        found.append(str(about[2]))

    sa.event.listen(store.engine, "before_cursor_execute", note_sqlalchemys)
    store.database.exchange = note  # type: ignore[attr-defined]
    try:
        yield found
    finally:
        store.database.exchange = exchange  # type: ignore[attr-defined]
        sa.event.remove(store.engine, "before_cursor_execute", note_sqlalchemys)
