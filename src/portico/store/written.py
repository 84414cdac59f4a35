# SPDX-License-Identifier: Apache-2.0
"""What a transaction wrote, for whoever follows in the same process."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import msgspec

Row = dict[str, Any]
# A resource and an object's id.
Key = tuple[str, str]


class Written(msgspec.Struct, frozen=True):
    """What one commit changed.

    Args:
        keys: which objects, as often as each was changed.
        objects: those that clients' requests changed, as they are now; None for one that is gone.
        names: the attributes of each that are other than before; of what is new, all.
        is_whole: whether these are all of them, and not some in the database alone.
    """

    revision: int
    keys: tuple[Key, ...]
    objects: Mapping[Key, Row | None]
    names: Mapping[Key, Set[str]]
    is_whole: bool


class Edit(msgspec.Struct, frozen=True):
    """What became of one object: the attributes that differ, as they were and as they are.

    `verb`: create (nothing before), update or delete (nothing after).
    """

    resource: str
    id: str
    verb: str
    before: Row
    after: Row
