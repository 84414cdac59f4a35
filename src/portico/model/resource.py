# SPDX-License-Identifier: Apache-2.0
"""What the API consists of, as frozen values: a registry of resources, their attributes, and the extensions they need.

Everything else is derived from these: tables, collections, validation, the OpenAPI document, CLI commands, docs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# The owner of every object, and the name by which older clients know it, in requests, filters and responses.
OWNER = "project_id"
OWNER_ALIAS = "tenant_id"

# The extension of what is always there.
CORE = "core"

VERBS = ("list", "show", "create", "update", "delete")

Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """One attribute, in the keywords of neutron_lib.api.definitions and a few of our own.

    `required`: a create must give it. `default` counts only with `has_default`; an attribute with neither is left out.
    `validate` holds pairs of a validator's name and its argument. `column` is "" for what is not stored, else
    `string(N)`, `text`, `integer`, `bigint`, `boolean`, `json` or `datetime`. `as_text`: answers give a number as
    text, as Neutron's do. `secret`: no log tells the value. `references` names the resource whose id the value is, or
    ""; when what it names is deleted, the object `goes_along` or is in the way.
    """

    name: str
    extension: str
    allow_post: bool = False
    allow_put: bool = False
    required: bool = False
    has_default: bool = False
    default: Any = None
    validate: tuple[tuple[str, Any], ...] = ()
    convert_to: Convert | None = None
    is_visible: bool = False
    is_filter: bool = False
    is_sort_key: bool = False
    required_by_policy: bool = False
    enforce_policy: bool = False
    primary_key: bool = False
    column: str = ""
    references: str = ""
    goes_along: bool = False
    as_text: bool = False
    secret: bool = False
    doc: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Action:
    """Something to do with one object besides the verbs: `PUT {path}/{id}/{name}`, or GET if it only `reads`.

    `takes` is what the body holds; if it is `wrapped`, under the resource's name. The answer is the object under its
    resource's name, or what `gives` names: one of its attributes, "list", a list of objects, or "body", what was taken;
    if it is an object of its own, `answer` has the attributes.
    """

    name: str
    takes: Mapping[str, Attribute] = field(repr=False)
    doc: str
    gives: str = ""
    reads: bool = False
    wrapped: bool = False
    answer: Mapping[str, Attribute] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One kind of object.

    `name` is the key of one object in a body ("security_group"), `plural` that of several, `collection` the word in the
    path ("security-groups"). `attributes` are those of the core and of advertised extensions. `unique` lists groups of
    attributes that no two objects share. `standard`: it has a description, a revision number and times. `tags`: it has
    labels and their sub-resource. `verbs` are those of `VERBS` that the API offers. `key` names the attribute that
    stands in an object's path. `actions` are those of the core and of advertised extensions. An object of a resource
    with a `parent` is a part of one of the parent's objects, and in its path.

    What another package brings has its name as `package`, and more: `version` of its columns, the module of its
    `rules`, who may do what (`policy`, a check of oslo.policy for each verb).
    """

    name: str
    plural: str
    collection: str
    attributes: Mapping[str, Attribute] = field(repr=False)
    doc: str
    key: str = "id"
    extension: str = CORE
    standard: bool = False
    tags: bool = False
    verbs: tuple[str, ...] = VERBS
    unique: tuple[tuple[str, ...], ...] = ()
    actions: tuple[Action, ...] = ()
    package: str = ""
    version: int = 1
    rules: str = ""
    policy: Mapping[str, str] = field(default_factory=dict)
    parent: Resource | None = None

    @property
    def is_stored(self) -> bool:
        """Whether the database has a table of it."""
        return any(attribute.column for attribute in self.attributes.values())

    @property
    def path(self) -> str:
        """Return the path of the collection; of a part, with the place of its parent's id in braces."""
        if self.parent is None:
            return f"/v2.0/{self.collection}"
        return f"{self.parent.path}/{{{self.parent_key}}}/{self.collection}"

    @property
    def tag_paths(self) -> tuple[str, ...]:
        """Return the paths below which objects have their labels; none without them.

        Neutron knows a collection of two words there by its plural alone (/v2.0/policies/ID/tags).
        """
        if not self.tags:
            return ()
        return (self.path, f"/v2.0/{self.plural}") if "/" in self.collection else (self.path,)

    @property
    def parent_key(self) -> str:
        """Return the attribute that holds the id of the parent; empty without one."""
        if self.parent is None:
            return ""
        return next(one.name for one in self.attributes.values() if one.references == self.parent.name)

    @property
    def policy_word(self) -> str:
        """Return what names of policy rules call it: Neutron's have the parent's name, too."""
        return self.name if self.parent is None else f"{self.parent.name}_{self.name}"


@dataclass(frozen=True, slots=True)
class Extension:
    """A part of the API that a server may have or lack, as `GET /v2.0/extensions` tells it."""

    alias: str
    name: str
    description: str
    updated: str


@dataclass(frozen=True, slots=True, eq=False)
class Registry:
    """All resources of this server, by name and by what follows /v2.0/, and the extensions it advertises, by alias."""

    resources: Mapping[str, Resource] = field(repr=False)
    by_collection: Mapping[str, Resource] = field(repr=False)
    extensions: tuple[Extension, ...]

    @property
    def services(self) -> tuple[Resource, ...]:
        """Return the stored resources of other packages, what they reference first."""
        return tuple(one for one in self.resources.values() if one.package and one.is_stored)
