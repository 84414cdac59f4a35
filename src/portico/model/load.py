# SPDX-License-Identifier: Apache-2.0
"""Reading the registry from models/*.yaml.

Three layers make a resource: what neutron-lib says (models/neutron/, generated), what we add or replace (models/), and
what comes with other packages (see `model.packages`; in the same vocabulary as models/), which add and replace nothing.
Only attributes of the core and of the extensions named in an extensions.yaml exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from portico.model import packages
from portico.model.document import SPECIAL, Layer, check_action, check_document
from portico.model.place import Place
from portico.model.resource import CORE, OWNER, OWNER_ALIAS, VERBS, Action, Attribute, Extension, Registry, Resource
from portico.model.vocabulary import UNSET, attribute, check

MODELS = Path(__file__).parents[1] / "models"

Specs = dict[str, dict[str, Any]]


class _Reader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML of models: plain data and `!unset`."""


_Reader.add_constructor("!unset", lambda _reader, _node: UNSET)


def load(extra_dirs: Iterable[Path] | None = None) -> Registry:
    """Return the registry of the models in this package and in `extra_dirs`, by default those of installed packages.

    Raises:
        SettingsError: a model breaks a rule or clashes with another one; names file, line, resource and keyword.
    """
    return _Loading(extra_dirs).registry()


def as_needed(extra_dirs: Iterable[Path] | None = None) -> Mapping[str, Resource]:
    """Return the resources that `load` would, each read when it is first asked for: a command needs few of them.

    What is read is checked as `load` checks it; that files get along with each other is only seen with all of them.
    """
    return _AsNeeded(_Loading(extra_dirs))


def _read(path: Path) -> dict[str, Any]:
    place = Place(path)
    try:
        # The reader is a safe one: it makes plain data only.
        document = yaml.load(path.read_text(), _Reader)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise place.fault(f"cannot be read: {error}") from error
    return place.mapping(document)


class _Loading:
    """One reading of all folders, by the name of their package (ours: empty)."""

    def __init__(self, extra_dirs: Iterable[Path] | None) -> None:
        found = packages.folders() if extra_dirs is None else {path.name: path for path in extra_dirs}
        self._folders: Mapping[str, Path] = {"": MODELS, **found}
        paths = {package: folder / "extensions.yaml" for package, folder in self._folders.items()}
        self._offers = {package: (path, _read(path)) for package, path in paths.items() if path.exists()}
        self._advertised = {
            CORE,
            *(alias for path, offer in self._offers.values() for alias in _advertised(path, offer)),
        }
        self._parts = _read(MODELS / "standard.yaml")
        # Where each attribute of a resource is described last.
        self._places: dict[tuple[str, str], Place] = {}

    def registry(self) -> Registry:
        """Return what the folders come to."""
        extensions = self._read_extensions()
        layers = self._read_layers()
        resources: dict[str, Resource] = {}
        for name, found in sorted(layers.items(), key=lambda pair: "parent" in pair[1][0].document):
            resources[name] = self.resource(name, found, resources)
        self._check_references(resources)
        by_collection: dict[str, Resource] = {}
        for resource in resources.values():
            other = by_collection.setdefault(resource.path.removeprefix("/v2.0/"), resource)
            if other is not resource:
                first = layers[other.name][0].key("collection", "plural")
                raise (
                    layers[resource.name][0]
                    .key("collection", "plural")
                    .fault(f"the path {resource.path} is taken by resource {other.name}, {first}")
                )
        return Registry(
            resources=MappingProxyType(resources),
            by_collection=MappingProxyType(by_collection),
            extensions=tuple(extensions[alias] for alias in sorted(self._advertised - {CORE})),
        )

    def _read_extensions(self) -> dict[str, Extension]:
        """Return all known extensions by alias."""
        known: dict[str, Extension] = {}
        places: dict[str, Place] = {}
        generated = MODELS / "neutron" / "extensions.yaml"
        self._describe(Place(generated), _read(generated), known)
        for package, (path, offer) in self._offers.items():
            place = Place(path)
            before = dict(known)
            described = self._describe(place.at("extensions", "extensions"), offer.get("extensions", {}), known)
            for alias, where in described.items():
                if package and alias in before:
                    raise where.fault(f"another file describes it: {places.get(alias, Place(generated))}")
            places |= described
            for number, alias in enumerate(_advertised(path, offer)):
                if alias not in known:
                    raise place.at("advertised", "advertised", number).fault(f"extension {alias!r} is not described")
        return known

    def _describe(self, place: Place, specs: object, known: dict[str, Extension]) -> dict[str, Place]:
        """Add the extensions that a file describes to `known`; return where each stands."""
        places = {}
        for alias, spec in place.mapping(specs).items():
            here = places[alias] = place.at(f"extension {alias}", alias)
            fields = here.mapping(spec)
            for name in ("name", "description", "updated"):
                if not isinstance(fields.get(name), str):
                    raise here.at(name, name).fault("must be text")
            known[alias] = Extension(alias, fields["name"], fields["description"], fields["updated"])
        return places

    def _read_layers(self) -> dict[str, list[Layer]]:
        """Return the hand-written layers of each resource, by its name, the one that defines it first."""
        layers: dict[str, list[Layer]] = {}
        for package, path in self.files():
            layer = check_document(path, _read(path), package)
            _put(layers.setdefault(layer.name, []), layer)
        return layers

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield the hand-written files, each with its package."""
        for package, folder in self._folders.items():
            for path in sorted(folder.glob("*.yaml")):
                if path.name not in SPECIAL:
                    yield package, path

    def resource(self, name: str, layers: list[Layer], known: Mapping[str, Resource]) -> Resource:
        """Return what the layers of one resource come to; its parent is `known`."""
        first = layers[0]
        for keyword in ("plural", "doc"):
            if keyword not in first.document:
                raise first.place.fault(f"{keyword} is missing, and no other file defines {name}")
        attributes = self._attributes(name, layers)
        for layer in layers:
            for number, names in enumerate(layer.document.get("unique", ())):
                if missing := sorted(set(names) - attributes.keys()):
                    raise layer.key("unique").at(f"number {number}", number).fault(f"no attribute {', '.join(missing)}")
        keys = [one.name for one in attributes.values() if one.primary_key]
        if first.package and len(keys) != 1:
            raise first.key("attributes").fault("one attribute must be the primary_key")
        given = first.document
        if parent := given.get("parent"):
            self._check_parent(first.key("parent"), parent, attributes, known)
        return Resource(
            name=name,
            plural=given["plural"],
            collection=given.get("collection", given["plural"]),
            attributes=MappingProxyType(attributes),
            doc=given["doc"],
            key=keys[0] if keys else "id",
            extension=given.get("extension", CORE),
            standard="standard" in first.parts,
            tags="tags" in first.parts,
            verbs=tuple(given.get("verbs", VERBS)),
            unique=tuple(tuple(names) for layer in layers for names in layer.document.get("unique", ())),
            actions=tuple(action for layer in layers for action in self._actions(first, layer)),
            package=first.package,
            version=given.get("version", 1),
            rules=given.get("rules", ""),
            policy=MappingProxyType(given.get("policy", {})),
            parent=known[parent] if parent else None,
        )

    def _check_parent(
        self, place: Place, parent: str, attributes: Mapping[str, Attribute], known: Mapping[str, Resource]
    ) -> None:
        if parent not in known or known[parent].parent is not None:
            raise place.fault(f"there is no resource {parent!r}, or it is itself a part of another one")
        if sum(one.references == parent for one in attributes.values()) != 1:
            raise place.fault(f"one attribute must say that it references {parent}")

    def _actions(self, first: Layer, layer: Layer) -> Iterator[Action]:
        """Yield the actions that one layer of a resource adds."""
        for name, spec in layer.document.get("actions", {}).items():
            here = check_action(layer.place.at(f"action {name}", "actions", name), spec)
            gives = spec.get("gives", "")
            takes = self._of_action(here, "takes", spec.get("takes", {}))
            answer = self._of_action(here, "gives", gives) if isinstance(gives, dict) else {}
            if spec.get("extension", first.document.get("extension", CORE)) in self._advertised:
                yield Action(
                    name=name,
                    takes=MappingProxyType(takes),
                    doc=spec["doc"],
                    gives="answer" if answer else gives,
                    reads=spec.get("reads", False),
                    wrapped=spec.get("wrapped", False),
                    answer=MappingProxyType(answer),
                )

    def _of_action(self, place: Place, keyword: str, specs: Specs) -> dict[str, Attribute]:
        """Return the attributes that an action takes or gives."""
        found = {}
        for name, spec in specs.items():
            here = place.at(f"{keyword} {name}", keyword, name)
            check(here.mapping(spec), here)
            found[name] = attribute(name, {"extension": CORE, "allow_post": True, **spec}, here)
        return found

    def _attributes(self, name: str, layers: list[Layer]) -> dict[str, Attribute]:
        """Merge the layers of one resource; of ours, a later one adds keywords to, or replaces those of, an earlier."""
        first = layers[0]
        specs: Specs = {}
        contributed = _generated(name)
        for alias in (alias for alias in contributed if alias in self._advertised):
            specs |= {one: {**spec, "extension": alias} for one, spec in contributed[alias].items()}
        hidden = {one for attributes in contributed.values() for one in attributes} - specs.keys()
        for part in first.parts:
            specs = self._parts[part] | specs
        places = dict.fromkeys(specs, first.place)
        for layer in layers:
            for one, spec in layer.document.get("attributes", {}).items():
                here = layer.place.at(f"attribute {one}", "attributes", one)
                check(here.mapping(spec), here)
                if layer is not first and one in specs:
                    raise here.fault(f"another file describes it: {places[one]}")
                layer.check_attribute(spec, here, is_own=layer is first)
                places[one] = here
                specs[one] = self._base(first) | specs.get(one, {}) | layer.short(spec) | spec
        in_reading_order = [*first.document.get("attributes", {}), *specs]
        self._places |= {(name, one): place for one, place in places.items()}
        return {
            one: attribute(one, specs[one], places[one])
            for one in dict.fromkeys(in_reading_order)
            if one not in hidden and specs[one]["extension"] in self._advertised
        }

    def _base(self, first: Layer) -> dict[str, Any]:
        return {"extension": first.document.get("extension", CORE)}

    def _check_references(self, resources: Mapping[str, Resource]) -> None:
        for resource in resources.values():
            for one in resource.attributes.values():
                if one.references and one.references not in resources:
                    place = self._places[resource.name, one.name].at("keyword references", "references")
                    raise place.fault(f"there is no resource {one.references!r}")


class _AsNeeded(Mapping[str, Resource]):
    """See `as_needed`."""

    def __init__(self, loading: _Loading) -> None:
        self._loading = loading
        self._known: dict[str, Resource] = {}
        self._files: dict[str, list[tuple[str, Path]]] = {}
        for package, path in loading.files():
            name = packages.resource_of(path) or str(_read(path).get("resource"))
            self._files.setdefault(name, []).append((package, path))

    def __getitem__(self, name: str) -> Resource:
        if name not in self._known:
            layers: list[Layer] = []
            for package, path in self._files[name]:
                _put(layers, check_document(path, _read(path), package))
            self._known[name] = self._loading.resource(name, layers, self)
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _advertised(path: Path, offer: Mapping[str, Any]) -> list[str]:
    """Return the aliases that an extensions.yaml advertises."""
    found = offer.get("advertised", [])
    if not isinstance(found, list):
        raise Place(path).at("advertised", "advertised").fault("must be a list of aliases")
    return found


def _put(layers: list[Layer], layer: Layer) -> None:
    """Add a layer of a resource to those known; there is one that defines it, and it comes first."""
    if layer.defines and layers and layers[0].defines:
        raise layer.key("resource").fault(f"another file defines it: {layers[0].key('resource')}")
    layers.insert(0 if layer.defines else len(layers), layer)


def _generated(name: str) -> dict[str, Specs]:
    """Return what neutron-lib says of a resource, by extension, with the owner under our name."""
    path = MODELS / "neutron" / f"{name}.yaml"
    if not path.exists():
        return {}
    return {
        alias: {OWNER if one == OWNER_ALIAS else one: spec for one, spec in attributes.items()}
        for alias, attributes in _read(path)["extensions"].items()
    }
