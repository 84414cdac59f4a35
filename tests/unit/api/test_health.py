# SPDX-License-Identifier: Apache-2.0
"""What load balancers are told."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from portico.api import health
from portico.api.app import Api, make_app
from portico.store.store import Store

from .asker import Asker, wait_until
from .conftest import MakeApi


@pytest.fixture
def served(store: Store, make_api: MakeApi) -> Iterator[tuple[Api, Asker]]:
    api = make_api(store)
    with Asker(make_app(api)) as asker:
        wait_until(lambda: not api.broker.trouble)
        yield api, asker


def test_a_server_that_works_is_ready(served: tuple[Api, Asker]) -> None:
    answer = served[1].ask("GET", "/readyz")
    assert (answer.status, answer.body["status"]) == (200, "ok")


def test_a_server_that_is_about_to_end_says_so_and_still_serves(served: tuple[Api, Asker]) -> None:
    api, asker = served
    api.ending.announced = True
    answer = asker.ask("GET", "/readyz")
    assert (answer.status, answer.body["status"]) == (503, "server: it is about to end")
    assert asker.ask("GET", "/healthz").status == 200 and asker.network()


def test_without_its_database_it_is_alive_and_not_ready(served: tuple[Api, Asker], store: Store) -> None:
    _, asker = served
    nowhere = Store("sqlite:////nonexistent/folder/portico.db", store.registry)
    kept, store.connections = store.connections, nowhere.connections
    answer = asker.ask("GET", "/readyz")
    assert answer.status == 503 and answer.body["status"].startswith("database: unable to open")
    assert asker.ask("GET", "/healthz").status == 200
    store.connections = kept
    # The broker may have looked meanwhile, and looks again in a while.
    wait_until(lambda: asker.ask("GET", "/readyz").status == 200)


def test_a_database_that_hangs_is_not_waited_for(served: tuple[Api, Asker], store: Store) -> None:
    api, asker = served
    may_end = threading.Event()

    def hang(*_: object) -> None:
        may_end.wait(20)

    api.health._newest = hang  # type: ignore[assignment,method-assign]  # noqa: SLF001
    try:
        for _ in range(2):
            answer = asker.ask("GET", "/readyz")
            assert (answer.status, answer.body["status"]) == (503, "database: no answer within 1 s")
    finally:
        may_end.set()
    assert store.is_writing is False


def test_a_broker_that_does_not_run_is_not_ready(store: Store, make_api: MakeApi) -> None:
    api = make_api(store)
    with Asker(make_app(api)) as asker:
        api.broker.stop()
        answer = asker.ask("GET", "/readyz")
    assert (answer.status, answer.body["status"]) == (503, "broker: it does not run")


def test_a_broker_that_stands_still_is_told_after_a_while(store: Store, make_api: MakeApi) -> None:
    api = make_api(store)
    now = 0.0
    seen = health.Health(store, api.broker, api.hosts, api.ending, clock=lambda: now)
    assert api.broker.revision < 5
    assert seen.stuck(5) == ""
    now = health.STUCK_S
    assert seen.stuck(5) == ""
    now += 1
    assert seen.stuck(5) == f"broker: it stands at revision {api.broker.revision} of 5 since 11 s"
    assert seen.stuck(api.broker.revision) == ""
    assert seen.stuck(5) == ""
