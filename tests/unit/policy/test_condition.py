# SPDX-License-Identifier: Apache-2.0
"""A rule reduced to a condition says what oslo.policy says, of a row and as SQL alike."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oslo_config import cfg
from oslo_policy.policy import Enforcer, RuleDefault, Rules

from portico.errors import SettingsError
from portico.model.resource import Registry
from portico.policy.condition import Condition, reduce
from portico.policy.policy import Policy
from portico.policy.row import holds
from portico.policy.sql import clause
from portico.store.store import Store
from portico.store.transaction import Transaction

PROJECTS = ("red", "blue", "green")
ROLES = ("reader", "member", "manager", "admin", "service")
LEAVES = (
    "role:member", "role:admin", "project_id:%(project_id)s", "tenant_id:%(tenant_id)s", "user_id:%(name)s",
    "'blue':%(project_id)s", "service_roles:service", "rule:own", "@", "!", "rule:deep",
)  # fmt: skip
CHECKS = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} and {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} or {pair[1]})"),
        inner.map(lambda one: f"not ({one})"),
    ),
    max_leaves=6,
)
CREDS = st.fixed_dictionaries(
    {
        "project_id": st.sampled_from(PROJECTS),
        "user_id": st.sampled_from(PROJECTS),
        "roles": st.lists(st.sampled_from(ROLES), unique=True).map(tuple),
        "service_roles": st.lists(st.sampled_from(ROLES), unique=True).map(tuple),
        "system_scope": st.just(""),
        "domain_id": st.just(""),
    }
)
NAMED = {"own": "project_id:%(project_id)s", "deep": "rule:own and not role:reader"}


@settings(deadline=None, max_examples=300)
@given(check=CHECKS, creds=CREDS, project=st.sampled_from(PROJECTS), name=st.sampled_from(PROJECTS))
def test_a_reduced_rule_decides_as_oslo_policy_does(check: str, creds: dict[str, Any], project: str, name: str) -> None:
    texts = {**NAMED, "asked": check}
    enforcer = Enforcer(cfg.ConfigOpts(), use_conf=False)
    enforcer.register_defaults([RuleDefault(key, text) for key, text in texts.items()])
    enforcer.set_rules(Rules.from_dict(dict(texts)), overwrite=True, use_conf=False)
    target = {"project_id": project, "tenant_id": project, "name": name}
    theirs = {key: list(value) if isinstance(value, tuple) else value for key, value in creds.items()}
    wanted = bool(enforcer.enforce("asked", target, {**theirs, "tenant_id": creds["project_id"]}))
    rules = Rules.from_dict(dict(texts))
    condition = reduce(rules["asked"], rules, creds)
    row = {"project_id": project, "name": name}
    assert holds(None, "network", row, condition, creds["project_id"]) is wanted  # type: ignore[arg-type]


OBJECT_LEAVES = (
    "project_id:%(project_id)s", "project_id:%(network:project_id)s", "project_id:%(security_group:project_id)s",
    "field:networks:shared=True", "field:networks:router:external=True", "field:subnetpools:shared=True",
    "field:ports:device_owner=~^network:", "role:member", "field:networks:admin_state_up=False",
    "field:networks:shared=true", "field:networks:admin_state_up=0",
)  # fmt: skip
FITTING = {
    "network": (0, 3, 4, 7, 8, 9, 10),
    "subnet": (0, 1, 3, 4, 7, 9),
    "port": (0, 1, 3, 4, 6, 7),
    "subnetpool": (0, 5, 7),
    "security_group_rule": (0, 2, 7),
}


def fill(tx: Transaction) -> None:
    """Add objects of two projects, with and without policies."""
    for number, project in enumerate(("red", "blue", "red", "blue", "blue")):
        ids = {
            name: str(uuid.uuid4()) for name in ("network", "subnet", "port", "subnetpool", "security_group", "rule")
        }
        other = "blue" if project == "red" else "red"
        tx.insert("network", {"id": ids["network"], "project_id": project, "admin_state_up": number % 2 == 0})
        tx.insert("subnet", {"id": ids["subnet"], "project_id": other, "network_id": ids["network"]})
        owner = "network:dhcp" if number % 2 else ""
        tx.insert("port", {"id": ids["port"], "project_id": other, "network_id": ids["network"], "device_owner": owner})
        tx.insert("subnetpool", {"id": ids["subnetpool"], "project_id": project})
        tx.insert("security_group", {"id": ids["security_group"], "project_id": project})
        rule = {"id": ids["rule"], "project_id": other, "security_group_id": ids["security_group"]}
        tx.insert("security_group_rule", rule)
        for kind, target, action in (
            ("network", "*" if number == 0 else "green", "access_as_shared" if number < 3 else "access_as_external"),
            ("subnetpool", "red" if number > 2 else "*", "access_as_shared"),
        ):
            policy = {"object_type": kind, "object_id": ids[kind], "action": action, "target_tenant": target}
            tx.insert("rbac_policy", {"id": str(uuid.uuid4()), "project_id": project, **policy})


@pytest.fixture(scope="module")
def filled(lasting_store: Store) -> Store:
    with lasting_store.write() as tx:
        fill(tx)
    return lasting_store


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), creds=CREDS, resource=st.sampled_from(sorted(FITTING)))
def test_a_condition_finds_the_same_objects_as_sql_and_row_by_row(
    filled: Store, data: st.DataObject, creds: dict[str, Any], resource: str
) -> None:
    leaves = st.sampled_from([OBJECT_LEAVES[number] for number in FITTING[resource]])
    check = data.draw(st.lists(leaves, min_size=1, max_size=3).map(" or not ".join))
    rules = Rules.from_dict({"asked": check})
    condition: Condition = reduce(rules["asked"], rules, creds)
    with filled.read() as tx:
        table = tx.tables.of[resource]
        asked = clause(tx.tables, resource, condition, creds["project_id"])
        as_sql = set(tx.connection.execute(sa.select(table.c.id).where(asked)).scalars())
        rows = [dict(row) for row in tx.connection.execute(sa.select(table)).mappings()]
        by_row = {row["id"] for row in rows if holds(tx, resource, row, condition, creds["project_id"])}
    assert as_sql == by_row


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("get_network: 'role'", "rule get_network: 'role' is no check"),
        ("get_network: 'rule:nobody'", "no such rule"),
        ("get_network: 'https://policy.test/ask'", "'https' in a check"),
        ("get_network: 'project_id:%(colour)s'", "asks for colour, which is not kept"),
        ("get_network: 'rule:get_network'", "rule get_network asks for itself"),
        ("get_network: 'height:3'", "'height' in a check is none of rule, role"),
        ("get_network: ['role:admin']", "must hold lines of the form"),
        ("- get_network", "must hold lines of the form"),
        ("a: [", "policy.yaml"),
        ("get_network: '@'\nget_network: '!'", "holds rule get_network twice"),
        # What is behind a role counts for whoever has it.
        ("get_network: 'rule:admin_only or (role:reader and rule:nobody)'", "no such rule (in rule get_network)"),
        ("get_network: 'role:reader and colour:red'", "'colour' in a check"),
        ("get_network: 'role:reader and field:networks:nmae=x'", "asks for nmae, which is not kept"),
        ("create_network: 'field:networks:nmae=x'", "asks for nmae, which is not kept"),
        ("create_port: 'project_id:%(network:colour)s'", "asks for colour, which is not kept"),
        ("create_network: 'project_id:%(ext_parent:project_id)s'", "it is no part of another object"),
        ("update_port: 'field:ports:device_owner=~('", "no regular expression: missing )"),
        ("get_network: 'field:networks:shared=maybe'", "the value is neither true nor false"),
        ("get_network: 'role:a and rule:b'\nb: 'role:c and rule:b'", "asks for itself"),
    ],
)
def test_a_policy_file_that_cannot_be_used_is_refused_with_its_rule(
    tmp_path: Path, registry: Registry, text: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"^policy: ") as caught:
        Policy(registry, file)
    assert said in str(caught.value)
    assert not caplog.records


def test_rules_that_nothing_asks_for_are_told(
    tmp_path: Path, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        "ours: 'role:x'\nget_network: 'rule:ours'\nget_network:mtu: '!'\nupdate_port:fixed_ips:ip_address: '!'\n"
        "add_external_gateways:external_gateways:enable_snat: '!'\nget_netwrok: '!'\nget_network:nmae: '!'\n"
    )
    Policy(registry, file)
    assert [record.getMessage() for record in caplog.records] == [
        f"policy: file {file}: nothing asks for get_netwrok, get_network:nmae"
    ]


def test_a_policy_file_that_is_not_there_is_refused(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        Policy(registry, tmp_path / "none.yaml")
