# SPDX-License-Identifier: Apache-2.0
"""Rows of a small world as they are where networks are routed: each network has subnets of its own. Pure."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def routed_row(resource: str, row: Row) -> Row:
    """Return a row as it is where no two networks have the same subnets."""
    number = int(row["network_id"][-12:]) if resource in ("subnet", "port") else 0

    def moved(text: str) -> str:
        return text.replace("192.0.2.", f"192.0.{2 + number}.").replace(":db8:0:1:", f":db8:0:{1 + number:x}:")

    match resource:
        case "network":
            return row | {"provider:network_type": "routed"}
        case "subnet":
            return row | {"cidr": moved(row["cidr"])}
        case "port":
            return row | {"fixed_ips": [ip | {"ip_address": moved(ip["ip_address"])} for ip in row["fixed_ips"]]}
    return row
