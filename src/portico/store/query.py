# SPDX-License-Identifier: Apache-2.0
"""What a list request asks of the database: filters, order and page."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Filter(msgspec.Struct, frozen=True):
    """One condition on a list.

    `operator`: "equal" (any of `values`), "contains" (a substring), "prefix", "after" (not older than a time), "before"
    (older), "address", "address_contains", "subnet" (on a port's fixed IPs), "group" (on a port's security groups),
    "shared" (with the project that asks), "network_shared" (the same of a subnet's network), "tags_all", "tags_any",
    "not_tags_all", "not_tags_any".
    """

    attribute: str
    values: tuple[Any, ...]
    operator: Literal[
        "equal", "contains", "prefix", "after", "before", "address", "address_contains", "subnet", "group",
        "shared", "network_shared", "tags_all", "tags_any", "not_tags_all", "not_tags_any",
    ] = "equal"  # fmt: skip


class Query(msgspec.Struct, frozen=True):
    """A list request. `limit` None means all; the page starts after (`reverse`: before) the id `marker`.

    `project_id` is that of who asks.
    """

    filters: tuple[Filter, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()  # (attribute, descending)
    limit: int | None = None
    marker: str | None = None
    reverse: bool = False
    project_id: str = ""
