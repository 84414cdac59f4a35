# SPDX-License-Identifier: Apache-2.0
"""Reading the registry from models/*.yaml.

Three layers make a resource: what neutron-lib says (models/neutron/, generated), what we add or replace (models/), and
what comes with a plug-in (any other folder, in the same vocabulary as models/). Only attributes of the core and of the
extensions named in models/extensions.yaml exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from portico.model.resource import CORE, OWNER, OWNER_ALIAS, VERBS, Action, Attribute, Extension, Registry, Resource
from portico.model.vocabulary import UNSET, Place, attribute

MODELS = Path(__file__).parents[1] / "models"
_KEYWORDS = frozenset(
    {
        "resource",
        "plural",
        "collection",
        "extension",
        "verbs",
        "standard",
        "tags",
        "doc",
        "unique",
        "attributes",
        "actions",
    }
)
_ACTION_KEYWORDS = frozenset({"doc", "takes", "gives", "reads", "extension"})
_SPECIAL = frozenset({"extensions.yaml", "standard.yaml"})


class _Reader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML of models: plain data and `!unset`."""


_Reader.add_constructor("!unset", lambda _reader, _node: UNSET)


def load(extra_dirs: Iterable[Path] = ()) -> Registry:
    """Return the registry of the models in this package and in `extra_dirs`.

    Raises:
        SettingsError: a model breaks a rule; names file, resource, attribute and keyword.
    """
    folders = [MODELS, *extra_dirs]
    extensions, advertised = _extensions(folders)
    overlays = _overlays(folders)
    standard = _read(MODELS / "standard.yaml")
    resources = {name: _resource(name, layers, standard, advertised) for name, layers in overlays.items()}
    _check_references(resources)
    return Registry(
        resources=MappingProxyType(resources),
        by_collection=MappingProxyType({resource.collection: resource for resource in resources.values()}),
        extensions=tuple(extensions[alias] for alias in sorted(advertised - {CORE})),
    )


def _read(path: Path) -> dict[str, Any]:
    place = Place(str(path))
    try:
        # The reader is a safe one: it makes plain data only.
        document = yaml.load(path.read_text(), _Reader)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise place.fault(f"cannot be read: {error}") from error
    return place.mapping(document)


def _extensions(folders: list[Path]) -> tuple[dict[str, Extension], set[str]]:
    """Return all known extensions by alias, and the aliases whose attributes exist."""
    known: dict[str, Extension] = {}
    advertised = {CORE}
    documents = [(MODELS / "neutron" / "extensions.yaml", _read(MODELS / "neutron" / "extensions.yaml"), True)]
    documents += [(path, _read(path), False) for folder in folders if (path := folder / "extensions.yaml").exists()]
    for path, document, generated in documents:
        place = Place(str(path))
        for alias, spec in place.mapping(document if generated else document.get("extensions", {})).items():
            fields = place.at(f"extension {alias}").mapping(spec)
            for field in ("name", "description", "updated"):
                if not isinstance(fields.get(field), str):
                    raise place.at(f"extension {alias}").fault(f"{field} must be text")
            known[alias] = Extension(alias, fields["name"], fields["description"], fields["updated"])
        for alias in () if generated else document.get("advertised", ()):
            if alias not in known:
                raise place.fault(f"advertised: extension {alias!r} is not described")
            advertised.add(alias)
    return known, advertised


def _overlays(folders: list[Path]) -> dict[str, list[tuple[Place, dict[str, Any]]]]:
    """Return the hand-written layers of each resource, by its name, in the order in which they apply."""
    layers: dict[str, list[tuple[Place, dict[str, Any]]]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            if path.name in _SPECIAL:
                continue
            document = _read(path)
            place = Place(str(path))
            if not isinstance(document.get("resource"), str):
                raise place.fault("resource must be a name")
            place = place.at(f"resource {document['resource']}")
            if unknown := sorted(set(document) - _KEYWORDS):
                raise place.fault(f"no such keyword: {', '.join(unknown)}")
            layers.setdefault(document["resource"], []).append((place, document))
    return layers


def _resource(
    name: str, layers: list[tuple[Place, dict[str, Any]]], standard: dict[str, Any], advertised: set[str]
) -> Resource:
    place, first = layers[0]
    for keyword in ("plural", "doc"):
        if not isinstance(first.get(keyword), str):
            raise place.fault(f"{keyword} must be text")
    verbs = tuple(first.get("verbs", VERBS))
    if unknown := sorted(set(verbs) - set(VERBS)):
        raise place.fault(f"verbs: {', '.join(unknown)}: not one of {', '.join(VERBS)}")
    attributes = _attributes(name, layers, standard, advertised)
    unique = tuple(tuple(names) for _, document in layers for names in document.get("unique", ()))
    if missing := sorted({one for names in unique for one in names} - attributes.keys()):
        raise place.fault(f"unique: no attribute {', '.join(missing)}")
    return Resource(
        name=name,
        plural=first["plural"],
        collection=first.get("collection", first["plural"]),
        attributes=MappingProxyType(attributes),
        doc=first["doc"],
        key=next((one.name for one in attributes.values() if one.primary_key), "id"),
        extension=first.get("extension", CORE),
        standard=bool(first.get("standard")),
        tags=bool(first.get("tags")),
        verbs=verbs,
        unique=unique,
        actions=tuple(action for layer in layers for action in _actions(first, layer, advertised)),
    )


def _actions(first: dict[str, Any], layer: tuple[Place, dict[str, Any]], advertised: set[str]) -> Iterator[Action]:
    """Yield the actions that one layer of a resource adds."""
    place, document = layer
    for name, spec in place.at("actions").mapping(document.get("actions", {})).items():
        here = place.at(f"action {name}")
        if unknown := sorted(set(here.mapping(spec)) - _ACTION_KEYWORDS):
            raise here.fault(f"no such keyword: {', '.join(unknown)}")
        if not isinstance(spec.get("doc"), str):
            raise here.fault("doc must be text")
        takes = {
            one: attribute(one, {"extension": CORE, "allow_post": True, **here.mapping(given)}, here.at(f"takes {one}"))
            for one, given in here.mapping(spec.get("takes", {})).items()
        }
        reads = spec.get("reads", False)
        if not isinstance(reads, bool) or (reads and takes):
            raise here.fault("reads must be true or false, and what only reads takes nothing")
        if spec.get("extension", first.get("extension", CORE)) in advertised:
            yield Action(name, MappingProxyType(takes), spec["doc"], spec.get("gives", ""), reads)


def _attributes(
    name: str, layers: list[tuple[Place, dict[str, Any]]], standard: dict[str, Any], advertised: set[str]
) -> dict[str, Attribute]:
    """Merge the layers of one resource; a later one adds keywords to, or replaces keywords of, an earlier one."""
    first_place, first = layers[0]
    generated = _generated(name)
    specs: dict[str, dict[str, Any]] = {}
    for alias in (alias for alias in generated if alias in advertised):
        specs |= {attribute_name: {**spec, "extension": alias} for attribute_name, spec in generated[alias].items()}
    hidden = {attribute_name for contributed in generated.values() for attribute_name in contributed} - specs.keys()
    for part in ("standard", "tags"):
        if first.get(part):
            specs = standard[part] | specs
    places = dict.fromkeys(specs, first_place)
    for place, document in layers:
        for attribute_name, spec in place.at("attributes").mapping(document.get("attributes", {})).items():
            places[attribute_name] = place.at(f"attribute {attribute_name}")
            own = {"extension": first.get("extension", CORE)}
            specs[attribute_name] = own | specs.get(attribute_name, {}) | places[attribute_name].mapping(spec)
    in_reading_order = [*first.get("attributes", {}), *specs]
    return {
        attribute_name: attribute(attribute_name, specs[attribute_name], places[attribute_name])
        for attribute_name in dict.fromkeys(in_reading_order)
        if attribute_name not in hidden and specs[attribute_name]["extension"] in advertised
    }


def _generated(name: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what neutron-lib says of a resource, by extension, with the owner under our name."""
    path = MODELS / "neutron" / f"{name}.yaml"
    if not path.exists():
        return {}
    return {
        alias: {OWNER if one == OWNER_ALIAS else one: spec for one, spec in attributes.items()}
        for alias, attributes in _read(path)["extensions"].items()
    }


def _check_references(resources: Mapping[str, Resource]) -> None:
    for resource in resources.values():
        for one in resource.attributes.values():
            if one.references and one.references not in resources:
                place = Place(f"resource {resource.name}", f"attribute {one.name}", "keyword references")
                raise place.fault(f"there is no resource {one.references!r}")
