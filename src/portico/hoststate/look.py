# SPDX-License-Identifier: Apache-2.0
"""What somebody asks of a host's kernel, and what its agent sees there."""

from __future__ import annotations

import msgspec


class Look(msgspec.Struct, frozen=True):
    """A question, known by its id: what has the kernel of a port?"""

    id: str
    port_id: str


class Aspect(msgspec.Struct, frozen=True):
    """One aspect of a port: as wanted, and as the kernel has it. `same` tells whether that is right."""

    aspect: str
    wanted: str
    actual: str
    same: bool


class Sight(msgspec.Struct, frozen=True):
    """The answer; `trouble` is why nothing could be seen."""

    aspects: tuple[Aspect, ...] = ()
    trouble: str = ""
