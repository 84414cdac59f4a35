# SPDX-License-Identifier: Apache-2.0
"""Who may ask for bindings of a port; what they are is tested through the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from portico.errors import Forbidden, NotFound
from portico.policy.policy import Policy
from portico.rules import port_binding
from portico.rules.context import Context
from portico.store.store import Store

from .conftest import PROJECT, Create

ASKED: dict[str, Callable[..., Any]] = {
    "create_port_binding": lambda tx, context, port: port_binding.create(tx, context, port, {"host": "h2"}),
    "update_port_binding": lambda tx, context, port: port_binding.update(tx, context, port, "h1", {}),
    "delete_port_binding": lambda tx, context, port: port_binding.delete(tx, context, port, "h1"),
    "activate": lambda tx, context, port: port_binding.activate(tx, context, port, "h2"),
}


@pytest.mark.parametrize("rule", ASKED)
def test_bindings_are_for_services_and_no_projects(store: Store, context: Context, create: Create, rule: str) -> None:
    known = structs.replace(context, policy=Policy(store.registry))
    member, service, stranger = (
        structs.replace(known, project_id=project, roles=roles)
        for project, roles in (
            (PROJECT, ("member", "reader")),
            (PROJECT, ("service",)),
            ("green", ("member", "reader")),
        )
    )
    with store.write() as tx:
        network = create(tx, context, "network")
        named = {"binding:host_id": "h1", "device_owner": "compute:nova"}
        port = create(tx, context, "port", network_id=network["id"], **named)["id"]
        with pytest.raises(Forbidden, match=f"rule:{rule} is disallowed by policy"):
            ASKED[rule](tx, member, port)
        with pytest.raises(NotFound, match=f"Port {port} could not be found"):
            ASKED[rule](tx, stranger, port)
        if rule == "activate":
            port_binding.create(tx, service, port, {"host": "h2"})
        ASKED[rule](tx, service, port)


def test_bindings_are_not_there_for_who_may_not_see_them(store: Store, context: Context, create: Create) -> None:
    known = structs.replace(context, policy=Policy(store.registry))
    member = structs.replace(known, roles=("member", "reader"))
    service = structs.replace(known, roles=("service",))
    with store.write() as tx:
        named = {"binding:host_id": "h1", "device_owner": "compute:nova"}
        port = create(tx, context, "port", network_id=create(tx, context, "network")["id"], **named)["id"]
        assert [row["host"] for row in port_binding.list_all(tx, service, port)] == ["h1"]
        assert port_binding.list_all(tx, member, port) == []
        assert port_binding.show(tx, service, port, "h1")["status"] == "ACTIVE"
        with pytest.raises(NotFound, match=f"Binding for port {port} for host h1 could not be found"):
            port_binding.show(tx, member, port, "h1")
