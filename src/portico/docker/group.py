# SPDX-License-Identifier: Apache-2.0
"""Security groups: those that options name, and those that the plugin makes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from portico.docker.api import Api, Object, delete_if_there, find
from portico.errors import PorticoError

# Of a rule that lets everything in.
ANYTHING: Sequence[Object] = ({},)


def made_by(host: str) -> str:
    """Return the description of what the plugin of a host made and may delete."""
    return f"Made by Docker on host {host}"


def resolve(api: Api, words: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the ids of security groups that are given by id or name."""
    return None if words is None else tuple(find(api, "security_groups", word)["id"] for word in words)


def make(api: Api, host: str, docker_id: str, lets_in: Sequence[Object]) -> str:
    """Make a group for a Docker network or endpoint and return its id; what it lets in, it lets in from everybody.

    Args:
        api: where to make it.
        host: whose plugin makes it.
        docker_id: of the network or endpoint that it goes with.
        lets_in: what tells one ingress rule from the next; each is made for both IP versions.
    """
    group = api.create("security_groups", {"name": f"docker-{docker_id[:12]}", "description": made_by(host)})
    both = ("IPv4", "IPv6")
    way = {"security_group_id": group["id"], "direction": "ingress"}
    rules = [{**way, "ethertype": version, **rule} for rule in lets_in for version in both]
    try:
        api.request("POST", "/v2.0/security-group-rules", {"security_group_rules": rules})
    except PorticoError:
        with suppress(PorticoError):  # then the sweep removes it
            delete_if_there(api, "security_groups", group["id"])
        raise
    return str(group["id"])
