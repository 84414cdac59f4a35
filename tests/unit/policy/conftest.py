# SPDX-License-Identifier: Apache-2.0
"""Who asks: two projects, and an administrator."""

from __future__ import annotations

import pytest

from portico.model.resource import Registry
from portico.policy.policy import Policy
from portico.store.store import Store

from .asker import Asker


@pytest.fixture(scope="session")
def policy(registry: Registry) -> Policy:
    return Policy(registry)


@pytest.fixture
def red(store: Store, policy: Policy) -> Asker:
    return Asker(store, policy, "red", "member", "reader")


@pytest.fixture
def blue(store: Store, policy: Policy) -> Asker:
    return Asker(store, policy, "blue", "member", "reader")


@pytest.fixture
def root(store: Store, policy: Policy) -> Asker:
    return Asker(store, policy, "root", "admin")
