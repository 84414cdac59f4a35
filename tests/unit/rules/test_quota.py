# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from portico.errors import BadRequest, NotFound, OverQuota
from portico.rules import quota
from portico.rules.context import Context, Row
from portico.settings import QuotaSettings
from portico.store.store import Store
from portico.store.transaction import Transaction

from .conftest import Create

MakeContext = Callable[..., Context]


def add_networks(tx: Transaction, project_id: str, count: int) -> None:
    for number in range(count):
        tx.insert("network", {"id": f"{project_id}-{number}", "project_id": project_id})


def test_the_last_object_of_a_quota_fits_and_one_more_does_not(store: Store, make_context: MakeContext) -> None:
    context = make_context(network=3)
    with store.write() as tx:
        add_networks(tx, "red", 2)
        quota.check(tx, context, "network", "red")
        quota.check(tx, context, "network", "blue", adding=3)
        with pytest.raises(OverQuota, match=r"^Quota exceeded for resources: \['network'\]\. .*2 of 3") as caught:
            quota.check(tx, context, "network", "red", adding=2)
    assert (caught.value.status, caught.value.type) == (409, "OverQuota")


@pytest.mark.parametrize(
    "resource",
    # The routes of a router are counted in requests about it: see test_router.
    [field.name for field in msgspec.structs.fields(QuotaSettings) if field.name != "router_route"],
)
def test_every_resource_with_a_quota_in_the_settings_is_held_to_it(
    store: Store, context: Context, make_context: MakeContext, create: Create, resource: str
) -> None:
    with store.write() as tx:
        network = create(tx, context, "network")
        group = create(tx, context, "security_group", name="group")
        bodies: dict[str, Row] = {
            "network": {},
            "subnet": {"network_id": network["id"], "ip_version": 4, "cidr": "192.0.2.0/24"},
            "subnetpool": {"name": "pool", "prefixes": ["192.0.2.0/24"]},
            "port": {"network_id": network["id"]},
            "security_group": {"name": "other"},
            "router": {},
            "trunk": {"port_id": create(tx, context, "port", network_id=network["id"])["id"]},
            "security_group_rule": {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp"},
        }
        outside = create(tx, context, "network", **{"router:external": True})
        create(tx, context, "subnet", network_id=outside["id"], ip_version=4, cidr="198.51.100.0/24")
        bodies["floatingip"] = {"floating_network_id": outside["id"]}
        bodies["rbac_policy"] = {
            "object_type": "network", "object_id": network["id"], "action": "access_as_shared", "target_tenant": "blue",
        }  # fmt: skip
        used = tx.used(resource, context.project_id)
        with pytest.raises(OverQuota, match=rf"\['{resource}'\]. Project red has {used} of {used}") as caught:
            create(tx, make_context(**{resource: used}), resource, **bodies[resource])
        assert caught.value.type == "OverQuota"
        create(tx, make_context(**{resource: used + 1}), resource, **bodies[resource])


def test_minus_one_and_what_has_no_quota_never_run_out(store: Store, make_context: MakeContext) -> None:
    with store.write() as tx:
        quota.check(tx, make_context(network=-1), "network", "red", adding=10**6)
        quota.check(tx, make_context(), "agent", "red", adding=10**6)


def test_room_is_made_by_deleting(store: Store, make_context: MakeContext) -> None:
    context = make_context(network=1)
    with store.write() as tx:
        add_networks(tx, "red", 1)
        tx.delete("network", tx.find("network")[0])
        quota.check(tx, context, "network", "red")


def test_a_projects_own_limit_comes_before_the_default(store: Store, make_context: MakeContext, admin: Context) -> None:
    context = make_context(network=0)
    with store.write() as tx:
        assert quota.update(tx, admin, "red", {"network": "2"})["network"] == 2
        quota.check(tx, context, "network", "red", adding=2)
        with pytest.raises(OverQuota):
            quota.check(tx, context, "network", "blue")
        assert quota.show(tx, context, "red")["network"] == 2
        assert quota.defaults(context)["network"] == 0


def test_only_projects_with_limits_of_their_own_are_listed(store: Store, admin: Context) -> None:
    with store.write() as tx:
        assert quota.list_all(tx, admin) == []
        quota.update(tx, admin, "red", {"network": 2, "port": 9})
        quota.update(tx, admin, "blue", {"port": -1})
        listed = quota.list_all(tx, admin)
    shown = [tuple(row[name] for name in ("project_id", "tenant_id", "network", "port")) for row in listed]
    assert shown == [("blue", "blue", -1, -1), ("red", "red", 2, 9)]


def test_a_reset_brings_the_defaults_back_and_only_once(store: Store, admin: Context) -> None:
    with store.write() as tx:
        quota.update(tx, admin, "red", {"network": 2})
        quota.reset(tx, admin, "red")
        assert quota.show(tx, admin, "red")["network"] == -1
        with pytest.raises(NotFound, match="red") as caught:
            quota.reset(tx, admin, "red")
    assert caught.value.type == "TenantQuotaNotFound"


def test_details_tell_what_is_used(store: Store, admin: Context) -> None:
    with store.write() as tx:
        add_networks(tx, "red", 2)
        quota.update(tx, admin, "red", {"network": 5})
        details = quota.details(tx, admin, "red")
    assert details["network"] == {"limit": 5, "used": 2, "reserved": 0}
    assert details["port"] == {"limit": -1, "used": 0, "reserved": 0}


def test_a_limit_below_what_is_used_must_be_forced(store: Store, admin: Context) -> None:
    with store.write() as tx:
        add_networks(tx, "red", 3)
        with pytest.raises(BadRequest, match="already used 3"):
            quota.update(tx, admin, "red", {"network": 2, "check_limit": True})
        assert quota.show(tx, admin, "red")["network"] == -1
        assert quota.update(tx, admin, "red", {"network": 3})["network"] == 3
        assert quota.update(tx, admin, "red", {"network": 2, "force": True})["network"] == 2
        assert quota.update(tx, admin, "red", {"network": -1})["network"] == -1


@pytest.mark.parametrize("force", [True, "true", "True", 1, "1", "yes"])
def test_force_may_be_spelled_as_any_boolean(store: Store, admin: Context, force: Any) -> None:
    with store.write() as tx:
        add_networks(tx, "red", 3)
        assert quota.update(tx, admin, "red", {"network": 2, "force": force})["network"] == 2


@pytest.mark.parametrize("force", [False, "false", 0, "no"])
def test_force_that_is_false_forces_nothing(store: Store, admin: Context, force: Any) -> None:
    with store.write() as tx:
        add_networks(tx, "red", 3)
        with pytest.raises(BadRequest, match="already used 3"):
            quota.update(tx, admin, "red", {"network": 2, "force": force})


@pytest.mark.parametrize("name", ["force", "check_limit"])
@pytest.mark.parametrize("value", ["maybe", 2, None, [], {}])
def test_a_switch_is_true_or_false(store: Store, admin: Context, name: str, value: Any) -> None:
    with store.write() as tx, pytest.raises(BadRequest, match=name) as caught:
        quota.update(tx, admin, "red", {"network": 2, name: value})
    assert caught.value.type == "HTTPBadRequest"


@pytest.mark.parametrize(
    ("values", "kind"),
    [([-2, 2**31], "HTTPBadRequest"), (["many", None, True, 1.5, "1" * 5000, [1]], "InvalidInput")],
)
def test_what_is_no_limit_is_refused_in_neutrons_words(
    store: Store, admin: Context, values: list[Any], kind: str
) -> None:
    for value in values:
        with store.write() as tx, pytest.raises(BadRequest, match="network") as caught:
            quota.update(tx, admin, "red", {"network": value})
        assert caught.value.type == kind, value


def test_an_unknown_resource_is_refused(store: Store, admin: Context) -> None:
    with store.write() as tx, pytest.raises(BadRequest, match="'unicorn'"):
        quota.update(tx, admin, "red", {"unicorn": 1})


def test_who_asks_is_told_its_project(make_context: MakeContext) -> None:
    assert quota.asking_project(make_context("red"), "tenant") == {"tenant": {"tenant_id": "red"}}
    assert quota.asking_project(make_context("red"), "project") == {"project": {"project_id": "red"}}
    with pytest.raises(BadRequest) as caught:
        quota.asking_project(make_context(""), "tenant")
    assert caught.value.type == "QuotaMissingTenant"
