# SPDX-License-Identifier: Apache-2.0
"""Which backend realises a network. Pure but for `name_backends`."""

from __future__ import annotations

from collections.abc import Sequence

from portico.contract import Capabilities
from portico.errors import SettingsError, Unsupported
from portico.model.resource import Registry
from portico.settings_broker import BrokerSettings
from portico.store.query import Filter, Query
from portico.store.store import Store


class Choice:
    """Chooses by what a network names, else by the settings; the first backend realises what nothing else decides.

    Raises:
        SettingsError: the settings name a backend that there is not, or one for a type that it does not have.
    """

    def __init__(self, backends: Sequence[Capabilities], settings: BrokerSettings | None = None) -> None:
        settings = settings or BrokerSettings()
        self._backends = {item.name: item for item in backends}
        self._types = {kind: item.name for item in reversed(backends) for kind in item.network_types}
        for kind, name in settings.types.items():
            if kind not in self._of_settings(name, "broker.types").network_types:
                raise SettingsError(f"broker.types: '{kind}' is no type of the {name} backend: {self._kinds(name)}")
            self._types[kind] = name
        self._projects = {project: tuple(names.split()) for project, names in settings.projects.items()}
        for project, names in self._projects.items():
            if not names:
                raise SettingsError(f"broker.projects: '{project}' names no backend")
            for name in names:
                self._of_settings(name, "broker.projects")

    def offered(self, project_id: str) -> tuple[str, ...]:
        """Return the backends that members of a project may choose; the first is the project's default."""
        return self._projects.get(project_id, (next(iter(self._backends)),))

    def choose(
        self, project_id: str, backend: str | None, network_type: str | None, before: str = ""
    ) -> tuple[str, str]:
        """Return backend and provider:network_type of a network that names what is not None.

        The type that it had `before` stays if it names none and the backend has it.

        Raises:
            Unsupported: there is no such backend, none has the type, or they do not fit together.
        """
        if backend is None:
            name = self._of_type(network_type) if network_type is not None else self.offered(project_id)[0]
        elif backend in self._backends:
            name = backend
        else:
            raise _refused(f"portico:backend '{backend}' is no backend here; known are: {', '.join(self._backends)}")
        kinds = self._backends[name].network_types
        if network_type is not None and network_type not in kinds:
            raise _refused(
                f"provider:network_type '{network_type}' does not go with portico:backend '{name}', "
                f"which has: {self._kinds(name)}"
            )
        return name, network_type or (before if before in kinds else kinds[0])

    def _of_type(self, network_type: str) -> str:
        if network_type not in self._types:
            known = ", ".join(sorted(self._types))
            raise _refused(f"provider:network_type '{network_type}' is realised by no backend; known are: {known}")
        return self._types[network_type]

    def _of_settings(self, name: str, setting: str) -> Capabilities:
        if name not in self._backends:
            raise SettingsError(f"{setting}: '{name}' is none of the setting backends: {', '.join(self._backends)}")
        return self._backends[name]

    def _kinds(self, name: str) -> str:
        return ", ".join(self._backends[name].network_types)


def _refused(text: str) -> Unsupported:
    return Unsupported(f"Invalid input for operation: {text}.", type="InvalidInput")


def services_of(backends: Sequence[Capabilities], registry: Registry) -> dict[str, str]:
    """Return which backend realises each resource of another package.

    Raises:
        SettingsError: two do, or no installed package has a model of it.
    """
    found: dict[str, str] = {}
    known = [one.name for one in registry.services]
    for backend in backends:
        for name in backend.services:
            if name not in known:
                raise SettingsError(f"backends: '{backend.name}' realises '{name}': no installed package has its model")
            if found.setdefault(name, backend.name) != backend.name:
                raise SettingsError(f"backends: '{found[name]}' and '{backend.name}' both realise '{name}'")
    return found


def name_backends(store: Store, choice: Choice) -> None:
    """Give networks of older databases, which name no backend, the one that their type chooses."""
    unnamed = Query(filters=(Filter("portico:backend", (None,)),))
    with store.read() as tx:
        if not tx.list("network", unnamed):
            return
    with store.write() as tx:
        for row in tx.list("network", unnamed):
            kind = row["provider:network_type"]
            try:
                backend, _ = choice.choose(row["project_id"], None, kind)
            except Unsupported:  # its backend is not installed any more: who lists networks sees that it has none
                continue
            tx.update("network", row, {"portico:backend": backend}, touch=False)
