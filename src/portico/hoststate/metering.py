# SPDX-License-Identifier: Apache-2.0
"""What a router counts, and what it has counted: see `portico.hoststate` for how such values are used."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Number = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class MeterRule(msgspec.Struct, frozen=True):
    """Packets that pass a gateway one way, from `source` and to `destination` (CIDRs; "" for any).

    Addresses are those inside: before what goes out gets another source, after what comes in got another destination.
    """

    direction: Literal["ingress", "egress"]
    source: str = ""
    destination: str = ""
    excluded: bool = False


class Meter(msgspec.Struct, frozen=True):
    """A metering label on a router: each packet that some rule means is counted once, and none that is `excluded`."""

    label_id: str
    rules: tuple[MeterRule, ...]


class Count(msgspec.Struct, frozen=True):
    """What a host's part of a router has counted under a label since `counter`, a name of its own, began at 0."""

    router_id: str
    label_id: str
    counter: Annotated[str, msgspec.Meta(max_length=32)]
    packets: Number
    bytes: Number
