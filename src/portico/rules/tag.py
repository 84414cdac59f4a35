# SPDX-License-Identifier: Apache-2.0
"""Tags of any resource that has them: /v2.0/{collection}/{id}/tags.

Every function that takes a `row` wants the object as it was read in this transaction.
"""

from __future__ import annotations

from typing import Any

from portico.errors import BadRequest, NotFound
from portico.model.show import show
from portico.model.validators import string
from portico.rules.context import Row
from portico.rules.pools import invalid
from portico.store.transaction import Transaction

MAX_LENGTH = 255
MAX_TAGS = 50


def get(row: Row) -> Row:
    """Return the object's tags as a body."""
    return {"tags": row["tags"] or []}


def check(row: Row, tag: str) -> None:
    """Tell whether the object has the tag.

    Raises:
        NotFound: it has not.
    """
    _check_tag(tag)
    if tag not in (row["tags"] or []):
        raise NotFound(f"Tag {show(tag)} could not be found.", type="TagNotFound")


def replace(tx: Transaction, resource: str, row: Row, body: Any) -> Row:
    """Give the object the tags of the body instead of those it has."""
    return _set(tx, resource, row, set(_read(body)))


def add_many(tx: Transaction, resource: str, row: Row, body: Any) -> Row:
    """Give the object the tags of the body besides those it has; return the body, as Neutron does."""
    tags = _read(body)
    _set(tx, resource, row, {*(row["tags"] or []), *tags})
    return {"tags": tags}


def add(tx: Transaction, resource: str, row: Row, tag: str) -> None:
    """Give the object one tag; that it has it already is no error."""
    _check_tag(tag)
    _set(tx, resource, row, {*(row["tags"] or []), tag})


def remove(tx: Transaction, resource: str, row: Row, tag: str) -> None:
    """Take one tag from the object.

    Raises:
        NotFound: it has not got it.
    """
    check(row, tag)
    _set(tx, resource, row, set(row["tags"]) - {tag})


def clear(tx: Transaction, resource: str, row: Row) -> None:
    """Take all tags from the object."""
    _set(tx, resource, row, set())


def _set(tx: Transaction, resource: str, row: Row, tags: set[str]) -> Row:
    if len(tags) > MAX_TAGS:
        raise BadRequest(
            f"Bad {resource} request: {row['id']} would have {len(tags)} tags; the number of tags exceed the "
            f"per-resource limit of {MAX_TAGS}.",
            type="BadRequest",
        )
    wanted = sorted(tags)
    if wanted != sorted(row["tags"] or []):
        tx.update(resource, row, {"tags": wanted})
    return {"tags": wanted}


def _read(body: Any) -> list[str]:
    if not isinstance(body, dict) or not isinstance(body.get("tags"), list):
        raise invalid(f"Invalid tags body: {show(body)} is no object with a list 'tags'")
    tags: list[str] = body["tags"]
    for tag in tags:
        _check_tag(tag)
    if len(set(tags)) != len(tags):
        raise invalid(f"Duplicate items in the list of tags: {show(', '.join(tags))}")
    return tags


def _check_tag(tag: Any) -> None:
    if reason := string(tag, MAX_LENGTH):
        raise invalid(f"tag {reason}")
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in tag):
        raise invalid(f"tag '{show(tag)}' holds a character that is no text")
