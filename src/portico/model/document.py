# SPDX-License-Identifier: Apache-2.0
"""What a model's file may say of its resource: the keywords besides those of attributes, and what each may hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.model.place import Place
from portico.model.resource import VERBS

SPECIAL = frozenset({"extensions.yaml", "standard.yaml"})
# Gluon's pattern: a service, an interface of a port, and what binds one to the other.
BASES = ("service", "interface", "service_binding")

# Names that tables of the store, commands, or parts of the API's paths have.
RESERVED = frozenset(
    [
        "address",
        "agent",
        "alembic_version",
        "api",
        "backend",
        "cursor",
        "db",
        "docker",
        "doctor",
        "extension",
        "free_range",
        "group",
        "journal",
        "lab",
        "lease",
        "reference",
        "bridge",
        "vif",
        "dhcp",
        "member",
        "model",
        "outlet",
        "policy",
        "port_group",
        "revision",
        "settings",
        "space",
        "status",
        "tag",
        "topology",
        "trace",
        "units",
        "up",
        "usage",
        "speaker",
        "peer",
        "custom",
    ]
)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,59}(/[a-z][a-z0-9_-]{0,59})?")
_ATTRIBUTE = re.compile(r"[a-z][a-zA-Z0-9_:-]{0,59}")
_MODULE = re.compile(r"[a-zA-Z_]\w*(\.[a-zA-Z_]\w*)*")


def _is_bool(value: object) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _is_text(value: object) -> str:
    return "" if isinstance(value, str) and value else "must be text"


def _matches(pattern: re.Pattern[str], words: str) -> Callable[[object], str]:
    return lambda value: "" if isinstance(value, str) and pattern.fullmatch(value) else f"must be {words}"


def _is_verbs(value: object) -> str:
    odd = [one for one in value if one not in VERBS] if isinstance(value, list) else [value]
    return f"{odd[0]!r}: must be a list of some of {', '.join(VERBS)}" if odd else ""


def _is_unique(value: object) -> str:
    groups = value if isinstance(value, list) else [None]
    fits = all(isinstance(names, list) and all(isinstance(one, str) for one in names) for names in groups)
    return "" if fits else "must be a list of lists of attributes"


def _is_version(value: object) -> str:
    fits = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return "" if fits else "must be a number from 1"


def _is_base(value: object) -> str:
    return "" if isinstance(value, str) and value in BASES else f"must be one of {', '.join(BASES)}"


def _is_mapping(value: object) -> str:
    fits = isinstance(value, dict) and all(isinstance(key, str) for key in value)
    return "" if fits else "must be a mapping with text keys"


def _is_answer(value: object) -> str:
    return (
        "" if not _is_text(value) or (value and not _is_mapping(value)) else "must be text, or a mapping of attributes"
    )


_KEYWORDS: Mapping[str, Callable[[object], str]] = {
    "resource": _matches(_NAME, "a name: a small letter, then at most 39 small letters, digits and _"),
    "plural": _matches(_NAME, "text: a small letter, then at most 39 small letters, digits and _"),
    "collection": _matches(_WORD, "one or two words of a path: a small letter, then small letters, digits, - and _"),
    "parent": _is_text,
    "extension": _is_text,
    "verbs": _is_verbs,
    "standard": _is_bool,
    "tags": _is_bool,
    "doc": _is_text,
    "unique": _is_unique,
    "attributes": _is_mapping,
    "actions": _is_mapping,
    "extends": _is_base,
    "version": _is_version,
    "rules": _matches(_MODULE, "the name of a module"),
    "policy": _is_mapping,
}
_OF_PACKAGES = frozenset({"extends", "version", "rules", "policy"})
_ACTION_KEYWORDS: Mapping[str, Callable[[object], str]] = {
    "doc": _is_text,
    "takes": _is_mapping,
    "gives": _is_answer,
    "reads": _is_bool,
    "wrapped": _is_bool,
    "extension": _is_text,
}


@dataclass(frozen=True)
class Layer:
    """What one file says of a resource. `package` is empty for ours."""

    name: str
    place: Place
    document: dict[str, Any]
    package: str

    @property
    def defines(self) -> bool:
        """Whether the resource is this file's, not one that another file defines."""
        return "plural" in self.document

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of standard.yaml that the resource has."""
        base = self.document.get("extends")
        found = [part for part in ("standard", "tags") if self.document.get(part, part == "standard" and bool(base))]
        return (*found, base) if base else tuple(found)

    def key(self, *names: str) -> Place:
        """Return the place of the first of the keys `names` that the file has."""
        name = next((name for name in names if name in self.document), "resource")
        return self.place.at(f"keyword {name}", name)

    def short(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an attribute of a resource that `extends` another need not say."""
        if "extends" not in self.document:
            return {}
        short: dict[str, Any] = {"is_visible": True, "is_filter": True}
        if "references" in spec:
            short |= {"allow_post": True, "validate": {"type:uuid": None}, "column": "string(36)"}
        return short

    def check_attribute(self, spec: Mapping[str, Any], place: Place, *, is_own: bool) -> None:
        """Check what depends on whose attribute it is."""
        if self.package and not _ATTRIBUTE.fullmatch(str(place.keys[-1])):
            raise place.fault("an attribute's name is a small letter, then letters, digits, _, - and :")
        if "on_delete" in spec and "references" not in spec:
            raise place.at("keyword on_delete", "on_delete").fault("goes with references")
        if self.package and not is_own and "column" in spec:
            raise place.at("keyword column", "column").fault(
                "the table is another file's: make a resource of your own that references it"
            )


def check_document(path: Path, document: dict[str, Any], package: str) -> Layer:
    """Return the layer that a file is.

    Raises:
        SettingsError: a keyword is unknown or holds what it may not.
    """
    place = Place(path)
    if complaint := _KEYWORDS["resource"](document.get("resource")):
        raise place.at("resource", "resource").fault(complaint)
    name = document["resource"]
    top = place.at(f"resource {name}")
    for keyword, value in document.items():
        here = top.at(f"keyword {keyword}", keyword)
        if keyword not in _KEYWORDS or (keyword in _OF_PACKAGES and not package):
            raise here.fault("no such keyword")
        if complaint := _KEYWORDS[keyword](value):
            raise here.fault(complaint)
    layer = Layer(name, top, document, package)
    if package and layer.defines and name in RESERVED:
        raise top.at("keyword resource", "resource").fault("Portico itself has this name")
    if package and not layer.defines and (odd := sorted(document.keys() & {*_OF_PACKAGES, "unique", "verbs"})):
        raise top.at(f"keyword {odd[0]}", odd[0]).fault("is for the file that defines the resource: with its plural")
    _check_promises(top, document)
    return layer


def _check_promises(place: Place, document: dict[str, Any]) -> None:
    """Check what one keyword demands of another."""
    if document.get("extends") == "service_binding":
        _check_binding(place, document)
    if "parent" in document and (odd := [name for name in ("tags", "actions") if document.get(name)]):
        raise place.at(f"keyword {odd[0]}", odd[0]).fault("a part of another object, with a parent, has none")
    for verb, text in document.get("policy", {}).items():
        here = place.at("keyword policy", "policy", verb)
        if verb.partition(":")[0] not in ("create", "get", "update", "delete", *document.get("actions", {})):
            raise here.at(verb).fault("no verb: create, get, update, delete, or an action")
        if not isinstance(text, str):
            raise here.at(verb).fault("must be text: a check of oslo.policy")


def _check_binding(place: Place, document: Mapping[str, Any]) -> None:
    given = document.get("attributes", {}).get("service_id")
    if not isinstance(given, dict) or "references" not in given:
        raise place.at("keyword extends", "extends").fault("a service_binding's service_id says what it references")


def check_action(place: Place, spec: Any) -> Place:
    """Check what an action says of itself; return its place."""
    for keyword, value in place.mapping(spec).items():
        here = place.at(f"keyword {keyword}", keyword)
        if keyword not in _ACTION_KEYWORDS:
            raise here.fault("no such keyword")
        if complaint := _ACTION_KEYWORDS[keyword](value):
            raise here.fault(complaint)
    if "doc" not in spec:
        raise place.fault("doc is missing")
    if spec.get("reads") and spec.get("takes"):
        raise place.at("keyword reads", "reads").fault("what only reads takes nothing")
    return place
