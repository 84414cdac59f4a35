# SPDX-License-Identifier: Apache-2.0
"""Trunks as typed values, and how they are read from rows in the API's shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from portico.model.address import Row


class Trunk(msgspec.Struct, frozen=True):
    """A trunk; `vlans` has the VLAN of each subport by the subport's id."""

    id: str
    port_id: str
    vlans: Mapping[str, int]


Value = Trunk


def _trunk(row: Row) -> Trunk:
    vlans = {item["port_id"]: int(item["segmentation_id"]) for item in row["sub_ports"] or ()}
    return Trunk(row["id"], row["port_id"], vlans)


READERS: Mapping[str, Callable[[Row], Value]] = {"trunk": _trunk}


def status(own: str, subports: Iterable[str]) -> str:
    """Return a trunk's status, which is what those of its port and its subports come to."""
    if own != "ACTIVE":
        return "ERROR" if own == "ERROR" else "DOWN"
    return "ACTIVE" if all(one == "ACTIVE" for one in subports) else "DEGRADED"
