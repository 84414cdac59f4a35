# SPDX-License-Identifier: Apache-2.0
"""What of a router's gateways is the operator's to choose, in updates and in actions."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from portico.api import collection

from .asker import Asker, refusal


def act(asker: Asker, router_id: str, name: str, *gateways: dict[str, Any]) -> object:
    body = {"router": {"external_gateways": list(gateways)}}
    return collection.act(asker.service, asker.resources["router"], asker.context, router_id, name, body)


@pytest.mark.parametrize("chosen", [{"enable_snat": False}, {"external_fixed_ips": [{"ip_address": "203.0.113.9"}]}])
def test_members_do_not_choose_addresses_or_translation(root: Asker, red: Asker, chosen: dict[str, Any]) -> None:
    network = root.create("network", name="public", **{"router:external": True})
    root.create("subnet", network_id=network["id"], cidr="203.0.113.0/24", ip_version=4)
    plain = {"network_id": network["id"]}
    router = red.create("router", external_gateway_info=plain)
    more = {**plain, **chosen}
    word = next(iter(chosen))
    rule = f"external_gateway_info:{word}"
    assert refusal(partial(red.create, "router", external_gateway_info=more))[::2] == (
        403,
        f"rule:create_router:{rule} is disallowed by policy",
    )
    change = partial(red.update, "router", router["id"], external_gateway_info=more)
    assert refusal(change)[::2] == (403, f"rule:update_router:{rule} is disallowed by policy")
    for name in ("add_external_gateways", "update_external_gateways"):
        told = (403, f"rule:{name}:external_gateways:{word} is disallowed by policy")
        assert refusal(partial(act, red, router["id"], name, plain, more))[::2] == told
    assert act(red, router["id"], "add_external_gateways", plain)
    root.update("router", router["id"], external_gateway_info=more)


def test_where_a_router_is_is_for_administrators_to_say_and_see(root: Asker, red: Asker) -> None:
    made = red.create("router")
    assert "distributed" not in made and "distributed" not in red.show("router", made["id"])
    assert root.show("router", made["id"])["distributed"] is True
    for act in (partial(red.create, "router"), partial(red.update, "router", made["id"])):
        assert refusal(partial(act, distributed=True))[:2] == (403, "PolicyNotAuthorized")


@pytest.mark.parametrize("name", ["enable_default_route_ecmp", "enable_default_route_bfd"])
def test_members_do_not_choose_whether_connections_are_spread(root: Asker, red: Asker, name: str) -> None:
    told = "disallowed by policy"
    refused = refusal(partial(red.create, "router", **{name: True}))
    assert refused[::2] == (403, f"rule:create_router:{name} is {told}")
    router = red.create("router")
    refused = refusal(partial(red.update, "router", router["id"], **{name: True}))
    assert refused[::2] == (403, f"rule:update_router:{name} is {told}")
    assert root.update("router", router["id"], **{name: True})[name] is True
