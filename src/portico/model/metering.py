# SPDX-License-Identifier: Apache-2.0
"""Metering labels and their rules as typed values, and how they are read from rows in the API's shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_interface
from typing import Literal

import msgspec

from portico.model.address import Row


class MeteringLabel(msgspec.Struct, frozen=True):
    """What the routers of a project, of all projects if `shared`, count for."""

    id: str
    project_id: str
    shared: bool


class MeteringLabelRule(msgspec.Struct, frozen=True):
    """What a label counts or, if `excluded`, does not: see `hoststate.metering.MeterRule`."""

    id: str
    label_id: str
    direction: Literal["ingress", "egress"]
    excluded: bool
    source: str
    destination: str


Value = MeteringLabel | MeteringLabelRule


def _label(row: Row) -> MeteringLabel:
    return MeteringLabel(row["id"], row["project_id"] or "", bool(row["shared"]))


def _rule(row: Row) -> MeteringLabelRule:
    """Read a rule; its remote_ip_prefix is the side inside, whatever its name says (as in Neutron's agent)."""
    inside, is_egress = row["remote_ip_prefix"], row["direction"] == "egress"
    return MeteringLabelRule(
        id=row["id"],
        label_id=row["metering_label_id"],
        direction="egress" if is_egress else "ingress",
        excluded=bool(row["excluded"]),
        source=_range(row["source_ip_prefix"] or (inside if is_egress else None)),
        destination=_range(row["destination_ip_prefix"] or (None if is_egress else inside)),
    )


def _range(prefix: str | None) -> str:
    return str(ip_interface(prefix).network) if prefix else ""


READERS: Mapping[str, Callable[[Row], Value]] = {"metering_label": _label, "metering_label_rule": _rule}
