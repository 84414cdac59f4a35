# SPDX-License-Identifier: Apache-2.0
"""Which backends there are: those of this package, and those of others.

A backend from another package is named by an entry point of the group `portico.backends` and is the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from portico.backends.bridge import BridgeBackend
from portico.backends.routed import RoutedBackend
from portico.contract import Backend, Hosts
from portico.errors import SettingsError
from portico.settings_neutron import NeutronSettings

GROUP = "portico.backends"
REMOTE = "neutron"
"""The one that has a remote. It is loaded only if the settings name it."""

# What makes a backend: it gets where hosts' wanted state goes, and the DNS domain of networks that name none.
Factory = Callable[[Hosts, str], Backend]

IN_TREE: Mapping[str, Factory] = {"bridge": BridgeBackend, "routed": RoutedBackend}


def find(name: str, remote: NeutronSettings | None = None) -> Factory:
    """Return what makes the backend `name`; `remote` are the settings of the one that has a remote.

    Raises:
        SettingsError: no installed package has it.
    """
    if name == REMOTE:
        from portico.backends import neutron

        return lambda hosts, _dns_domain: neutron.make(hosts, remote or NeutronSettings())
    if name in IN_TREE:
        return IN_TREE[name]
    from importlib.metadata import entry_points

    installed = entry_points(group=GROUP)
    for entry in installed:
        if entry.name == name:
            factory: Factory = entry.load()
            return factory
    known = ", ".join(sorted({*IN_TREE, REMOTE, *(entry.name for entry in installed)}))
    raise SettingsError(f"backends: '{name}' is no installed backend; known are: {known}")
