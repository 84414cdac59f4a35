# SPDX-License-Identifier: Apache-2.0
"""Statements as a driver takes them, compiled once: what SQLAlchemy does for each costs more than the statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

Convert = Callable[[Any], Any]


class Text(msgspec.Struct, frozen=True, eq=False):
    """A statement in a dialect.

    Args:
        sql: its words.
        names: of its parameters, in order.
        constants: values of parameters that are part of the statement.
        makers: what makes of a parameter's value what the driver takes, where that is something else.
    """

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]
    makers: Mapping[str, Convert]

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        """Return the parameters' values in order."""
        every = {**self.constants, **given} if self.constants else given
        makers = self.makers
        return [makers[name](every[name]) if name in makers else every[name] for name in self.names]


@lru_cache(2048)
def text(statement: Any, names: tuple[str, ...], dialect: Any) -> Text:
    """Return a statement whose parameters `names` are given each time; all others are part of it."""
    compiled = statement.compile(dialect=dialect, column_keys=names)
    told = compiled.construct_expanded_state(dict.fromkeys(names), escape_names=False)
    makers = {name: item.type.dialect_impl(dialect).bind_processor(dialect) for name, item in compiled.binds.items()}
    return Text(
        sql=told.statement,
        names=tuple(told.positiontup or ()),
        constants={name: value for name, value in told.parameters.items() if name not in names},
        makers={name: maker for name, maker in (makers | dict(told.processors)).items() if maker is not None},
    )
