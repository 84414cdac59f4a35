# SPDX-License-Identifier: Apache-2.0
"""What is refused because it is another project's is refused with the words and the work for what is not there."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial

import pytest

from portico.api import collection, port_binding
from portico.model.resource import Action
from portico.rules import TABLE
from portico.testing.statements import asked

from .asker import Asker, Row, everything, refusal, renamed

Ask = Callable[[str], object]


@pytest.fixture
def mine(red: Asker) -> dict[str, Row]:
    return everything(red)


@pytest.fixture
def own(blue: Asker) -> dict[str, Row]:
    return everything(blue)


def work_of(asker: Asker, act: Callable[[], object], object_id: str) -> list[str]:
    """Return the statements with which the database is asked for something that is refused, and the refusal."""
    with asked(asker.service.store) as statements:
        told = refusal(act, object_id)
    assert told[0] == 404, told
    return [*statements, *map(str, told)]


def check(asker: Asker, asks: dict[str, Ask], there: str) -> None:
    """Ask for what is there and for what is not: answer and work are the same."""
    for name, ask in asks.items():
        absent = str(uuid.uuid4())
        # What is asked for the first time may fill a memory of the server's.
        refusal(partial(ask, str(uuid.uuid4())))
        assert work_of(asker, partial(ask, there), there) == work_of(asker, partial(ask, absent), absent), name


def bodies(own: dict[str, Row]) -> dict[str, Row]:
    """Return what could be asked of each action, about the asker's own objects."""
    port, network, subnet = (own[name]["id"] for name in ("port", "network", "subnet"))
    routes = {"router": {"routes": [{"destination": "203.0.113.0/24", "nexthop": "192.0.2.9"}]}}
    gateways = {"router": {"external_gateways": [{"network_id": network}]}}
    return {
        "add_prefixes": {"prefixes": ["203.0.113.0/24"]},
        "remove_prefixes": {"prefixes": ["198.51.100.0/24"]},
        "onboard_network_subnets": {"network_id": network},
        "add_addresses": {"addresses": ["198.51.100.7/32"]},
        "remove_addresses": {"addresses": ["203.0.113.0/24"]},
        "add_subports": {"sub_ports": [{"port_id": port, "segmentation_type": "vlan", "segmentation_id": 7}]},
        "remove_subports": {"sub_ports": [{"port_id": port}]},
        "get_subports": {},
        "add_router_interface": {"subnet_id": subnet},
        "remove_router_interface": {"subnet_id": subnet},
        "add_extraroutes": routes,
        "remove_extraroutes": routes,
        "add_external_gateways": gateways,
        "update_external_gateways": gateways,
        "remove_external_gateways": gateways,
    }


def act(asker: Asker, name: str, action: Action, body: Row, object_id: str) -> object:
    about = asker.service, asker.resources[name], asker.context, object_id, action.name
    return collection.tell(*about) if action.reads else collection.act(*about, body)


def test_no_verb_costs_more_for_what_is_another_projects(mine: dict[str, Row], blue: Asker) -> None:
    for name, row in mine.items():
        resource, rules = blue.resources[name], TABLE[name]
        changes: Row = {"name": "x", "target_tenant": "x", "description": "x"}
        change = next(
            (
                {key: changes[key]}
                for key in changes
                if key in resource.attributes and resource.attributes[key].allow_put
            ),
            {},
        )
        asks: dict[str, Ask] = {f"show {name}": partial(blue.show, name)}
        if rules.update is not None:
            asks[f"update {name}"] = partial(update, blue, name, change)
        if rules.delete is not None:
            asks[f"delete {name}"] = partial(blue.delete, name)
        if resource.tags:
            asks[f"tag {name}"] = partial(blue.tags, name, verb="PUT")
        check(blue, asks, row["id"])


def update(asker: Asker, name: str, change: Row, object_id: str) -> Row:
    return asker.update(name, object_id, **change)


def test_no_action_is_there_for_another_projects_object(mine: dict[str, Row], own: dict[str, Row], blue: Asker) -> None:
    given = bodies(own)
    tried = set()
    for name, row in mine.items():
        for action in blue.resources[name].actions:
            check(blue, {action.name: partial(act, blue, name, action, given[action.name])}, row["id"])
            tried.add(action.name)
    # Speakers and peers are the operator's.
    every = {one.name for resource in blue.resources.values() for one in resource.actions}
    assert tried == every - {one.name for one in blue.resources["bgp_speaker"].actions}


def test_no_action_takes_another_projects_object(mine: dict[str, Row], own: dict[str, Row], blue: Asker) -> None:
    named = {
        "onboard_network_subnets": ("subnetpool", "network"),
        "add_subports": ("trunk", "port"),
        "add_router_interface": ("router", "subnet"),
        "add_external_gateways": ("router", "network"),
    }
    given = bodies(own)
    for name, (kind, other) in named.items():
        (action,) = (one for one in blue.resources[kind].actions if one.name == name)

        def ask(found: str, kind: str = kind, other: str = other, action: Action = action) -> object:
            body = renamed(given[action.name], own[other]["id"], found)
            return act(blue, kind, action, body, own[kind]["id"])

        check(blue, {name: ask}, mine[other]["id"])


def test_bindings_of_another_projects_port_are_not_there(mine: dict[str, Row], blue: Asker) -> None:
    about = blue.service, blue.context
    asks: dict[str, Ask] = {
        "list": lambda found: port_binding.list_all(*about, found, (), "http://api.test"),
        "show": lambda found: port_binding.show(*about, found, "host-a", ()),
        "create": lambda found: port_binding.create(*about, found, {"binding": {"host": "host-a"}}),
        "delete": lambda found: port_binding.delete(*about, found, "host-a"),
        "activate": lambda found: port_binding.activate(*about, found, "host-a"),
    }
    check(blue, asks, mine["port"]["id"])


def test_what_the_operator_made_is_not_there_for_projects(red: Asker, root: Asker) -> None:
    network = red.create("network", name="n")
    (segment,) = root.list("segment", ("network_id", network["id"]))
    bodies: dict[str, Row] = {
        "bgp_speaker": {"name": "s", "local_as": 65000, "ip_version": 4},
        "network_segment_range": {"network_type": "vlan", "physical_network": "p", "minimum": 1, "maximum": 2},
        "bgp_peer": {"name": "p", "peer_ip": "192.0.2.1", "remote_as": 65001, "auth_type": "none"},
    }
    made = {"segment": segment, **{name: root.create(name, **body) for name, body in bodies.items()}}
    for name, row in made.items():
        assert red.list(name) == [] != root.list(name)
        asks: dict[str, Ask] = {
            f"show {name}": partial(red.show, name),
            f"update {name}": partial(update, red, name, {"name": "x"}),
            f"delete {name}": partial(red.delete, name),
        }
        check(red, asks, row["id"])
    for name, body in bodies.items():
        assert refusal(partial(red.create, name, **body))[:2] == (403, "PolicyNotAuthorized")


def test_what_is_in_the_way_is_another_projects_and_no_more_is_told(red: Asker, blue: Asker, root: Asker) -> None:
    def shared(kind: str, word: str = "", **body: object) -> str:
        made = red.create(kind, **body)["id"]
        about = {"object_type": word or kind, "object_id": made, "action": "access_as_shared"}
        root.create("rbac_policy", project_id="red", target_tenant="blue", **about)
        return str(made)

    scope = shared("address_scope", name="s", ip_version=4)
    pool = shared("subnetpool", name="p", prefixes=["198.51.100.0/24"])
    addresses = shared("address_group", name="a", addresses=["203.0.113.0/24"])
    group = shared("security_group", name="g")
    policy = Asker(red.service.store, red.context.policy, "red", "manager", "member", "reader")  # type: ignore[arg-type]
    quality = policy.create("policy", name="q")["id"]
    about = {"object_type": "qos_policy", "object_id": quality, "action": "access_as_shared"}
    root.create("rbac_policy", project_id="red", target_tenant="blue", **about)

    own = everything(blue)
    other = blue.create("subnetpool", name="o", prefixes=["192.0.2.0/24"], address_scope_id=scope)
    network = blue.create("network", name="n")["id"]
    subnet = blue.create("subnet", network_id=network, ip_version=4, subnetpool_id=pool, prefixlen=28)
    rule = {"security_group_id": own["security_group"]["id"], "direction": "ingress"}
    blue.create("security_group_rule", remote_address_group_id=addresses, **rule)
    blue.update("port", own["port"]["id"], security_groups=[group], qos_policy_id=quality)
    take = next(one for one in red.resources["subnetpool"].actions if one.name == "remove_prefixes")

    refused = {
        "address_scope": refusal(lambda: red.delete("address_scope", scope)),
        "prefix": refusal(
            lambda: red.create("subnetpool", name="x", prefixes=["192.0.2.128/25"], address_scope_id=scope)
        ),
        "subnetpool": refusal(lambda: red.delete("subnetpool", pool)),
        "remove_prefixes": refusal(lambda: act(red, "subnetpool", take, {"prefixes": [subnet["cidr"]]}, pool)),
        "address_group": refusal(lambda: red.delete("address_group", addresses)),
        "security_group": refusal(lambda: red.delete("security_group", group)),
        "stateful": refusal(lambda: red.update("security_group", group, stateful=False)),
        "policy": refusal(lambda: policy.delete("policy", quality)),
    }
    ids = {subnet["id"], other["id"], own["port"]["id"], "192.0.2.0/24"}
    for name, (_, _, text) in refused.items():
        assert "of another project" in text, (name, text)
        assert not any(one in text for one in ids), (name, text)
    # Who may see what is in the way is told.
    assert own["port"]["id"] in refusal(lambda: root.delete("security_group", group))[2]
