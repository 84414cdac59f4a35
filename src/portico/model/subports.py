# SPDX-License-Identifier: Apache-2.0
"""Subports in requests: whether a value can be a trunk's list of them. Accepts what neutron-lib's validator does."""

from __future__ import annotations

from typing import Any

from portico.model import validators as v
from portico.model.show import show

INHERIT = "inherit"


def subports(value: Any, _: Any) -> str | None:
    """A list of `{port_id, segmentation_type, segmentation_id}`, no port and no tag twice."""
    if not isinstance(value, list):
        return f"Invalid data format for subports: '{show(value)}' is not a list"
    ports: set[str] = set()
    tags: set[tuple[str, str]] = set()
    for item in value:
        if not isinstance(item, dict):
            return f"Invalid data format for subport: '{show(item)}' is not a dict"
        if reason := _port(item, ports):
            return reason
        if item.get("segmentation_type") == INHERIT:
            return None
        if reason := _tag(item, tags):
            return reason
    return None


def _port(item: dict[str, Any], seen: set[str]) -> str | None:
    if "port_id" not in item:
        return "A valid port UUID must be specified"
    port_id = item["port_id"]
    if v.uuid_value(port_id, None):
        return f"Invalid UUID for subport: '{show(port_id)}'"
    if port_id in seen:
        return f"Non unique UUID for subport: '{show(port_id)}'"
    seen.add(port_id)
    return None


def _tag(item: dict[str, Any], seen: set[tuple[str, str]]) -> str | None:
    kind, number = item.get("segmentation_type"), item.get("segmentation_id")
    if (not kind or number is None) and len(item) > 1:
        return (
            f"Invalid subport details '{show(item)}': missing segmentation information. Must specify both "
            "segmentation_id and segmentation_type"
        )
    tag = repr(kind), repr(number)
    if number is not None and tag in seen:
        return f"Segmentation ID '{show(number)}' for '{show(item['port_id'])}' is not unique"
    seen.add(tag)
    return None
