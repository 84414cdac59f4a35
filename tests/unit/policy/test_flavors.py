# SPDX-License-Identifier: Apache-2.0
"""Operators make flavors and their service profiles; everybody sees the flavors, and makes routers with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from portico.api import flavor_profiles

from .asker import Asker, refusal


def test_projects_choose_among_flavors_and_neither_make_nor_look_behind_them(root: Asker, red: Asker) -> None:
    profile = root.create("service_profile", driver="centralized")
    flavor = root.create("flavor", name="plain", service_type="L3_ROUTER_NAT", service_profiles=[profile["id"]])
    assert red.show("flavor", flavor["id"]) == flavor and red.list("flavor") == [flavor]
    assert red.list("service_profile") == []
    assert refusal(partial(red.show, "service_profile", profile["id"]), profile["id"])[:2] == (
        404,
        "ServiceProfileNotFound",
    )
    made = red.create("router", flavor_id=flavor["id"])
    assert made["flavor_id"] == flavor["id"] and "distributed" not in made
    assert root.show("router", made["id"])["distributed"] is False
    assert refusal(partial(red.create, "router", flavor_id=profile["id"]))[:2] == (404, "FlavorNotFound")


@pytest.mark.parametrize("verb", ["create", "update", "delete"])
def test_who_may_not_change_flavors_is_told_so(root: Asker, red: Asker, verb: str) -> None:
    flavor = root.create("flavor", service_type="L3_ROUTER_NAT")
    acts: dict[str, Callable[[], object]] = {
        "create": partial(red.create, "flavor", service_type="L3_ROUTER_NAT"),
        "update": partial(red.update, "flavor", flavor["id"], enabled=False),
        "delete": partial(red.delete, "flavor", flavor["id"]),
    }
    assert refusal(acts[verb])[::2] == (403, f"rule:{verb}_flavor is disallowed by policy")


def test_who_may_not_change_flavors_gives_them_no_profiles(root: Asker, red: Asker) -> None:
    profile = root.create("service_profile", driver="centralized")
    flavor = root.create("flavor", service_type="L3_ROUTER_NAT", service_profiles=[profile["id"]])
    for act in (flavor_profiles.add, flavor_profiles.remove):
        refused = refusal(partial(act, red.service, red.context, flavor["id"], profile["id"]))
        assert refused[:2] == (403, "PolicyNotAuthorized")
    assert root.show("flavor", flavor["id"])["service_profiles"] == [profile["id"]]
