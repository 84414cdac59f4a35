# SPDX-License-Identifier: Apache-2.0
"""What the binding:profile of a port in Docker's use says, and how the use ends."""

from __future__ import annotations

from typing import Any

import msgspec

from portico.docker.api import Api, Object, delete_if_there
from portico.docker.group import made_by
from portico.docker.record import ADOPTED, PROFILE, part
from portico.errors import NotFound


class Use(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who uses a port.

    `network` is the Docker network's id. `group` is the security group made for the endpoint's exposed ports.
    `adopted` is the profile that a port had which was there before, and is given back instead of deleted.
    """

    host: str
    network: str
    group: str = ""
    adopted: dict[str, Any] | None = None


def profile(use: Use) -> Object:
    """Return the binding:profile of a port that is plugged into a container."""
    return {**(use.adopted or {}), "plug": "veth", PROFILE: msgspec.to_builtins(use)}


# Of a port of no plugin's, and of one whose profile somebody has overwritten.
NOBODYS = Use(host="", network="")


def of(port: Object) -> Use:
    """Return how Docker uses a port; `NOBODYS` when its profile does not say, whatever its owner is said to be."""
    try:
        return msgspec.convert(part(port), Use)
    except msgspec.ValidationError:
        return NOBODYS


def is_free(port: Object) -> bool:
    """Tell whether nothing uses a port."""
    return not (port["device_id"] or port["device_owner"] or port["binding:host_id"])


def adopted(port: Object) -> Object | None:
    """Return the profile that a port which was there before gets back; None of a port that Docker made."""
    before = of(port).adopted
    if before is None and port["device_owner"] == ADOPTED:
        # Somebody has overwritten the profile: what they wrote stays.
        return {key: value for key, value in (port["binding:profile"] or {}).items() if key != PROFILE}
    return before


def unpublish(api: Api, host: str, port_id: str) -> None:
    """Remove the port forwardings that the plugin of a host made to a port, which stays."""
    for floating in api.list("floatingips", description=made_by(host)):
        if floating["router_id"]:
            collection = f"floatingips/{floating['id']}/port_forwardings"
            for item in api.list(collection, internal_port_id=port_id, fields="id"):
                delete_if_there(api, collection, item["id"])


def end(api: Api, port: Object, revision: int | None) -> None:
    """Delete a port, or give it back as it was before Docker used it; gone already is fine.

    Args:
        api: where the port is.
        port: as it was seen.
        revision: of the port as it was seen; None for one that this process made, whatever it has become.

    Raises:
        PreconditionFailed: it has become something else.
    """
    use = of(port)
    before = adopted(port)
    if before is None:
        delete_if_there(api, "ports", port["id"], revision)
    else:
        free = {"device_id": "", "device_owner": "", "binding:host_id": "", "binding:profile": before}
        try:
            api.update("ports", port["id"], free, revision)
        except NotFound:
            return
        unpublish(api, use.host, port["id"])
    if use.group:
        delete_if_there(api, "security_groups", use.group)
