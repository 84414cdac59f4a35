# SPDX-License-Identifier: Apache-2.0
"""Which lists are answered in the event loop: those for which a thread would cost more than the work, with SQLite."""

from __future__ import annotations

import threading

import pytest

from portico.api.app import make_app
from portico.store.store import Store

from .asker import Asker
from .conftest import MakeApi


@pytest.mark.parametrize(
    ("path", "is_short"),
    [
        ("subnets?network_id=n&fields=cidr", True),
        ("subnets?network_id=n&network_id=m", False),
        ("subnets", False),
        ("ports?network_id=n", False),
    ],
)
def test_the_subnets_of_one_network_are_listed_in_the_event_loop(
    store: Store, make_api: MakeApi, path: str, *, is_short: bool
) -> None:
    made = make_api(store)
    at: list[threading.Thread] = []
    with Asker(make_app(made)) as api:
        store.on_transaction(lambda *_: at.append(threading.current_thread()))
        api.get(f"/v2.0/{path}")
    is_here = is_short and store.is_embedded  # a database server is waited for in threads
    # The broker has threads, too.
    assert (threading.current_thread() in at) is is_here
    assert any(thread.name.startswith("AnyIO") for thread in at) is not is_here
