# SPDX-License-Identifier: Apache-2.0
"""The API in this process, on a database of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.backends.bridge import BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.rules.context import Limits
from portico.store.store import Store

from .asker import Asker

QUOTED = ("network", "subnet", "subnetpool", "port", "security_group", "security_group_rule")

MakeApi = Callable[[Store], Api]


@pytest.fixture(scope="session")
def make_api() -> MakeApi:
    def make(store: Store) -> Api:
        hosts = HostStates()
        limits = Limits(
            quotas=dict.fromkeys(QUOTED, -1),
            mtu=1500,
            mac_base="fa:16:3e",
            dns_domain="portico.test",
            default_project="red",
        )
        return Api(Service(store=store, page_max=1000), Broker(store, hosts, [BridgeBackend(hosts)]), hosts, limits)

    return make


@pytest.fixture
def api(store: Store, make_api: MakeApi) -> Iterator[Asker]:
    """An API with nothing in it."""
    with Asker(make_app(make_api(store))) as asker:
        yield asker


@pytest.fixture(scope="module")
def lasting_api(lasting_store: Store, make_api: MakeApi) -> Iterator[Asker]:
    """One API for all tests of a module, which must not mind each other's objects."""
    with Asker(make_app(make_api(lasting_store))) as asker:
        yield asker
