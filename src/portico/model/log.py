# SPDX-License-Identifier: Apache-2.0
"""Logs as typed values, and how they are read from rows in the API's shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from portico.model.address import Row

SECURITY_GROUP = "security_group"
"""What a log may be of: its resource_type."""


class PacketLog(msgspec.Struct, frozen=True):
    """What is written down of `port_id` ("" for any port), as far as it is in `group_id` ("" for any group).

    With neither, of all ports of its project. With `enabled` false, of none.
    """

    id: str
    project_id: str
    event: Literal["ACCEPT", "DROP", "ALL"]
    group_id: str
    port_id: str
    enabled: bool

    @property
    def subject_id(self) -> str:
        """The id of the most that it is about: a port's, a group's, or its project's."""
        return self.port_id or self.group_id or self.project_id


Value = PacketLog


def _log(row: Row) -> PacketLog:
    return PacketLog(
        id=row["id"],
        project_id=row["project_id"] or "",
        event=row["event"],
        group_id=row["resource_id"] or "",
        port_id=row["target_id"] or "",
        enabled=bool(row["enabled"]),
    )


READERS: Mapping[str, Callable[[Row], Value]] = {"log": _log}
