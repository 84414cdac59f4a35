# SPDX-License-Identifier: Apache-2.0
"""The most that passes: see `portico.hoststate` for how such values are used."""

from __future__ import annotations

import msgspec


class Limit(msgspec.Struct, frozen=True):
    """The most that passes one way: `rate` a second, and `burst` at once after a pause (0: as much as suits the rate).

    In kilobits (1000 bits) where bandwidth is limited, in packets where packets are.
    """

    rate: int
    burst: int = 0


class Share(msgspec.Struct, frozen=True):
    """What an `address` outside may use of a gateway; "" for all that passes there and has no share of its own.

    `egress` is what leaves the router there, and `ingress` what comes in; None is as much as there is.
    """

    address: str
    egress: Limit | None = None
    ingress: Limit | None = None
