# SPDX-License-Identifier: Apache-2.0
"""What the Docker Engine says that it has: asked over its own API, read only, and never from inside a driver call."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from portico.client.connection import unix_connection
from portico.client.http1 import Broken, Connection

TIMEOUT_S = 5.0


class Inventory(msgspec.Struct, frozen=True):
    """The names of networks and of endpoints' containers, by id; empty where the engine has none to tell.

    `by_mac` has the endpoints' ids by network id and MAC address.
    """

    networks: Mapping[str, str]
    endpoints: Mapping[str, str]
    by_mac: Mapping[tuple[str, str], str] = {}


def ask(path: str) -> Inventory | None:
    """Return what the engine at a unix socket has, or None when it gives no answer."""
    connection = unix_connection(path, TIMEOUT_S)
    try:
        networks = _get(connection, "/networks")
        containers = _get(connection, "/containers/json?all=1")
    except (OSError, msgspec.DecodeError):
        return None
    finally:
        connection.close()
    plugged = [
        (container, network)
        for container in containers
        for network in ((container.get("NetworkSettings") or {}).get("Networks") or {}).values()
        if network.get("EndpointID")
    ]
    return Inventory(
        networks={item["Id"]: item["Name"] for item in networks},
        endpoints={network["EndpointID"]: _name(container) for container, network in plugged},
        by_mac={
            (network["NetworkID"], network["MacAddress"].lower()): network["EndpointID"]
            for _, network in plugged
            if network.get("MacAddress")
        },
    )


def _name(container: Mapping[str, Any]) -> str:
    """Return a container's name: one that is just being removed has null for its names."""
    names = container.get("Names") or [""]
    return str(names[0]).lstrip("/")


def _get(connection: Connection, target: str) -> Any:
    answer = connection.request("GET", target, None, {})
    body = answer.read()
    if answer.will_close:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise Broken(f"{target}: status {answer.status}")
    return msgspec.json.decode(body)
