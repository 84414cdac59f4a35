# SPDX-License-Identifier: Apache-2.0
"""Objects by name or id, because people know names and the API knows ids."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from portico.errors import Conflict, NotFound

if TYPE_CHECKING:
    from portico.client import Client
    from portico.model.resource import Resource

UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


def find(client: Client, resource: Resource, word: str) -> dict[str, Any]:
    """Return the one object whose id or name is `word`.

    Raises:
        NotFound: there is none.
        Conflict: several have that name.
    """
    if resource.key != "id" or "name" not in resource.attributes:
        return client.show(resource.collection, word)
    if UUID.fullmatch(word):
        try:
            return client.show(resource.collection, word)
        except NotFound:
            # A name may look like an id.
            pass
    found = client.list(resource.collection, name=word)
    if not found:
        raise NotFound(f"no {_words(resource)} has the name or id {word!r}")
    if len(found) > 1:
        ids = ", ".join(sorted(item["id"] for item in found))
        raise Conflict(f"{len(found)} {_words(resource)}s are named {word!r}; say which by id: {ids}")
    return found[0]


def find_id(client: Client, resource: Resource, word: str) -> str:
    """Return the id of the one object whose id or name is `word`; an id is not looked up: the API does that."""
    if UUID.fullmatch(word) or resource.key != "id" or "name" not in resource.attributes:
        return word
    return str(find(client, resource, word)["id"])


def _words(resource: Resource) -> str:
    return resource.name.replace("_", " ")
