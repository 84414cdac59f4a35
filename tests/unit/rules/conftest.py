# SPDX-License-Identifier: Apache-2.0
"""Requests as the API hands them to the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from portico.contract import Binding, Capabilities
from portico.model import check
from portico.model.resource import Registry
from portico.policy.policy import Policy
from portico.rules import TABLE
from portico.rules.context import Context, Limits
from portico.store.store import Store
from portico.store.transaction import Transaction
from portico.store.written import Written

Row = dict[str, Any]
Create = Callable[..., Row]
MakeContext = Callable[..., Context]
PROJECT = "red"


class Willing:
    """A broker whose backends realise everything."""

    def admit(
        self,
        resource: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any],
        network: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse nothing."""

    def bind(self, port: Mapping[str, Any], network: Mapping[str, Any]) -> Binding:
        tap = port["binding:profile"].get("tap_name") or f"tap{port['id'][:11]}"
        return Binding(vif_type="tap", vif_details={"network": network["id"], "tap_name": tap})

    def choose(
        self, _project_id: str, backend: str | None, network_type: str | None, before: str = ""
    ) -> tuple[str, str]:
        return backend or "bridge", network_type or before or "local"

    def capabilities(self, backend: str) -> Capabilities:
        one_space = backend == "routed"
        return Capabilities(
            backend, (), frozenset(), host_needs=("bridge",), one_space=one_space, physical_types=("flat", "vlan")
        )

    def offered(self, _project_id: str) -> tuple[str, ...]:
        return ("bridge",)


@pytest.fixture
def store(store: Store) -> Iterator[Store]:
    """A store of which who follows is told what rules write as the database has it."""
    differ: list[tuple[int, str, Row | None, Row | None]] = []

    def compare(written: Written) -> None:
        assert written.is_whole
        with store.read() as tx:
            for (resource, object_id), told in written.objects.items():
                found = tx.get(resource, object_id)
                if told != found:
                    differ.append((written.revision, resource, told, found))

    store.on_write(compare)
    yield store
    assert differ == []


@pytest.fixture(scope="session")
def make_context() -> MakeContext:
    def make(project_id: str = PROJECT, *, is_admin: bool = False, **quotas: int) -> Context:
        limits = Limits(
            quotas={"network": -1, "port": -1, "security_group": -1, "security_group_rule": -1, **quotas},
            mtu=1500,
            mac_base="fa:16:3e",
            dns_domain="portico.test.",
            default_project=PROJECT,
        )
        return Context(project_id=project_id, is_admin=is_admin, limits=limits, broker=Willing())

    return make


@pytest.fixture(scope="session")
def context(make_context: MakeContext) -> Context:
    return make_context()


@pytest.fixture(scope="session")
def admin(make_context: MakeContext) -> Context:
    return make_context("root", is_admin=True)


@pytest.fixture(scope="session")
def create() -> Create:
    """Create an object from a body as a client sends it."""

    def make(tx: Transaction, context: Context, resource: str, **body: Any) -> Row:
        rule = TABLE[resource].create
        assert rule is not None
        found = tx.registry.resources[resource]
        # Whose part it is stands in the path.
        inside = {found.parent_key: body.pop(found.parent_key)} if found.parent is not None else {}
        return rule(tx, context, {"project_id": context.project_id, **check.prepare_post(found, body), **inside})

    return make


@pytest.fixture(scope="session")
def update() -> Create:
    """Change an object as a client asks for it."""

    def make(tx: Transaction, context: Context, resource: str, row: Row, **body: Any) -> Row:
        rule = TABLE[resource].update
        assert rule is not None
        return rule(tx, context, row, check.prepare_put(tx.registry.resources[resource], body))

    return make


@pytest.fixture(scope="session")
def pool(create: Create) -> Create:
    """Create a subnet pool with the given prefixes."""

    def make(tx: Transaction, context: Context, *prefixes: str, **body: Any) -> Row:
        return create(tx, context, "subnetpool", name="pool", prefixes=list(prefixes), **body)

    return make


@pytest.fixture(scope="session")
def make_member(registry: Registry, make_context: MakeContext) -> MakeContext:
    """Make the context of a project's member, for whom Neutron's rules hold."""
    policy = Policy(registry)

    def make(project_id: str) -> Context:
        return msgspec.structs.replace(make_context(project_id), policy=policy, roles=("member", "reader"))

    return make
