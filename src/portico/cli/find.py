# SPDX-License-Identifier: Apache-2.0
"""Objects by name or id, because people know names and the API knows ids."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from portico.client import singular
from portico.errors import Conflict, NotFound

if TYPE_CHECKING:
    from portico.client import Client
    from portico.model.resource import Resource

# What has the id of another object is found by that one's name: resource, collection of the other.
NAMED_BY = {"network_ip_availability": "networks"}
# What stands for a name where objects have none.
NAMES = {"floatingip": "floating_ip_address", "service_profile": "description"}
UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


def find(client: Client, resource: Resource, word: str, where: str = "") -> dict[str, Any]:
    """Return the one object whose id or name is `word`, in the resource's collection or in `where`.

    Raises:
        NotFound: there is none.
        Conflict: several have that name.
    """
    if resource.name in NAMED_BY and not UUID.fullmatch(word):
        word = str(_named(client, NAMED_BY[resource.name], word)["id"])
    where = where or resource.collection
    if resource.key != "id" or not _name_of(resource):
        return client.show(where, word)
    if UUID.fullmatch(word):
        try:
            return client.show(where, word)
        except NotFound:
            # A name may look like an id.
            pass
    return _named(client, where, word, _name_of(resource))


def _name_of(resource: Resource) -> str:
    """Return the attribute by which people know an object, or ""."""
    name = NAMES.get(resource.name, "name")
    return name if name in resource.attributes else ""


def _named(client: Client, collection: str, word: str, name: str = "name") -> dict[str, Any]:
    found = client.list(collection, **{name: word})
    words = singular(collection.rpartition("/")[2].replace("-", "_")).replace("_", " ")
    if not found:
        raise NotFound(f"no {words} has the name or id {word!r}")
    if len(found) > 1:
        ids = ", ".join(sorted(item["id"] for item in found))
        raise Conflict(f"{len(found)} {words}s are named {word!r}; say which by id: {ids}")
    return found[0]


def find_id(client: Client, resource: Resource, word: str, where: str = "") -> str:
    """Return the id of the one object whose id or name is `word`, in the resource's collection or in `where`.

    An id is not looked up: the API does that.
    """
    if UUID.fullmatch(word) or resource.key != "id" or not _name_of(resource):
        return word
    return str(find(client, resource, word, where)["id"])
