# SPDX-License-Identifier: Apache-2.0
"""QoS policies, their rules by both paths, types of rules, and what has a policy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.backends.memory import MemoryBackend
from portico.backends.memory.fabric import Fabric
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.rules.context import Limits
from portico.store.store import Store

from .asker import Answer, Asker, Row

LIMIT = {"max_kbps": 1000, "max_burst_kbps": 100}


def policy(api: Asker, **body: object) -> Row:
    row: Row = api.ask("POST", "qos/policies", {"policy": {"name": "p", **body}}).body["policy"]
    return row


def shown(api: Asker, row: Row) -> Row:
    found: Row = api.ask("GET", f"qos/policies/{row['id']}").body["policy"]
    return found


def rule(api: Asker, row: Row, kind: str, **body: object) -> Answer:
    return api.ask("POST", f"qos/policies/{row['id']}/{kind}_rules", {f"{kind}_rule": body})


def test_rules_are_parts_of_a_policy_whose_row_tells_of_them(api: Asker) -> None:
    one = policy(api, description="slow")
    assert (one["rules"], one["shared"], one["is_default"], one["tags"]) == ([], False, False, [])
    made = rule(api, one, "bandwidth_limit", **LIMIT).body["bandwidth_limit_rule"]
    assert made.keys() == {"id", "max_kbps", "max_burst_kbps", "direction"}
    assert rule(api, one, "bandwidth_limit", max_kbps=5, direction="ingress").status == 201
    assert rule(api, one, "packet_rate_limit", max_kpps=2).body["packet_rate_limit_rule"]["max_burst_kpps"] == 0
    assert rule(api, one, "dscp_marking", dscp_mark=26).status == 201
    told = shown(api, one)
    assert told["revision_number"] > one["revision_number"]
    kinds = [(item["type"], item.get("direction")) for item in told["rules"]]
    assert sorted(kinds, key=str) == [
        ("bandwidth_limit", "egress"),
        ("bandwidth_limit", "ingress"),
        ("dscp_marking", None),
        ("packet_rate_limit", "egress"),
    ]
    path = f"qos/policies/{one['id']}/bandwidth_limit_rules/{made['id']}"
    assert api.ask("PUT", path, {"bandwidth_limit_rule": {"max_kbps": 7}}).body["bandwidth_limit_rule"]["max_kbps"] == 7
    assert [item["max_kbps"] for item in shown(api, one)["rules"] if item["id"] == made["id"]] == [7]
    other = policy(api)
    assert api.ask("GET", path.replace(one["id"], other["id"])).error == (404, "QosRuleNotFound")
    assert api.ask("DELETE", path).status == 204
    assert made["id"] not in str(shown(api, one)["rules"])
    assert api.ask("DELETE", f"qos/policies/{one['id']}").status == 204
    assert api.ask("GET", f"qos/policies/{one['id']}/dscp_marking_rules").error == (404, "QosPolicyNotFound")


def test_a_rule_is_told_changed_and_removed_by_its_id_alone(api: Asker) -> None:
    one = policy(api)
    made = rule(api, one, "packet_rate_limit", max_kpps=2).body["packet_rate_limit_rule"]
    path = f"qos/alias-packet-rate-limit-rules/{made['id']}"
    assert api.ask("GET", path).body == {"alias_packet_rate_limit_rule": made}
    changed = api.ask("PUT", path, {"alias_packet_rate_limit_rule": {"max_kpps": 3}})
    assert changed.body == {"alias_packet_rate_limit_rule": {**made, "max_kpps": 3}}
    assert shown(api, one)["rules"][0]["max_kpps"] == 3
    assert api.ask("DELETE", path).status == 204
    for verb, body in (("GET", None), ("PUT", {"alias_packet_rate_limit_rule": {}}), ("DELETE", None)):
        assert api.ask(verb, path, body).error == (404, "QosRuleNotFound")
    assert shown(api, one)["rules"] == []


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        ({"max_kbps": 5}, {"max_kbps": 6}, "QoSRulesConflict"),
        ({"max_kbps": 5}, {"min_kbps": 6}, "QoSRuleParameterConflict"),
        ({"min_kbps": 6}, {"max_kbps": 5}, "QoSRuleParameterConflict"),
        ({"dscp_mark": 0}, {"dscp_mark": 8}, "QoSRulesConflict"),
    ],
)
def test_rules_that_cannot_be_kept_together_are_refused(api: Asker, first: Row, second: Row, error: str) -> None:
    kinds = {"max_kbps": "bandwidth_limit", "min_kbps": "minimum_bandwidth", "dscp_mark": "dscp_marking"}
    one = policy(api)
    assert rule(api, one, kinds[next(iter(first))], **first).status == 201
    assert rule(api, one, kinds[next(iter(second))], **second).error == (409, error)
    assert len(shown(api, one)["rules"]) == 1
    if "direction" in (made := shown(api, one)["rules"][0]):
        assert made["direction"] == "egress"
        assert rule(api, one, kinds[next(iter(second))], direction="ingress", **second).status == 201


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("bandwidth_limit", {}),
        ("bandwidth_limit", {"max_kbps": -1}),
        ("bandwidth_limit", {"max_kbps": 2**31}),
        ("bandwidth_limit", {"max_kbps": 1, "direction": "any"}),
        ("dscp_marking", {"dscp_mark": 1}),
        ("packet_rate_limit", {"max_kpps": "many"}),
    ],
)
def test_a_rule_that_says_nothing_sensible_is_refused(api: Asker, kind: str, body: Row) -> None:
    assert rule(api, policy(api), kind, **body).error[0] == 400


def test_a_policy_stays_while_a_port_or_a_network_has_it(api: Asker) -> None:
    one = policy(api)
    net = api.ask("POST", "networks", {"network": {"qos_policy_id": one["id"]}}).body["network"]
    port = api.ask("POST", "ports", {"port": {"network_id": net["id"]}}).body["port"]
    assert (port["qos_policy_id"], port["qos_network_policy_id"]) == (None, one["id"])
    assert api.ask("DELETE", f"qos/policies/{one['id']}").error == (409, "QosPolicyInUse")
    port = api.ask("PUT", f"ports/{port['id']}", {"port": {"qos_policy_id": one["id"]}}).body["port"]
    assert api.ask("PUT", f"networks/{net['id']}", {"network": {"qos_policy_id": None}}).status == 200
    refused = api.ask("DELETE", f"qos/policies/{one['id']}")
    assert refused.error == (409, "QosPolicyInUse") and port["id"] in refused.message
    other = policy(api)
    assert api.ask("PUT", f"ports/{port['id']}", {"port": {"qos_policy_id": other["id"]}}).status == 200
    assert api.ask("DELETE", f"qos/policies/{one['id']}").status == 204
    unknown = {"network_id": net["id"], "qos_policy_id": one["id"]}
    assert api.ask("POST", "ports", {"port": unknown}).error == (404, "QosPolicyNotFound")
    assert api.ask("PUT", f"networks/{net['id']}", {"network": {"qos_policy_id": one["id"]}}).error[0] == 404


def test_new_networks_of_a_project_have_its_default_policy(api: Asker) -> None:
    one = policy(api, is_default=True)
    assert api.ask("POST", "networks", {"network": {}}).body["network"]["qos_policy_id"] == one["id"]
    body = {"policy": {"name": "q", "is_default": True}}
    assert api.ask("POST", "qos/policies", body).error == (409, "QoSPolicyDefaultAlreadyExists")
    other = policy(api)
    path = f"qos/policies/{other['id']}"
    assert api.ask("PUT", path, {"policy": {"is_default": True}}).error == (409, "QoSPolicyDefaultAlreadyExists")
    net = api.ask("POST", "networks", {"network": {"qos_policy_id": other["id"]}}).body["network"]
    assert net["qos_policy_id"] == other["id"]


@pytest.fixture
def plain_api(store: Store) -> Iterator[Asker]:
    """An API whose one backend does not realise all types of rules."""
    hosts = HostStates()
    limits = Limits(dict.fromkeys(("network", "port"), -1), 1500, "fa:16:3e", "portico.test", "red")
    broker = Broker(store, hosts, [MemoryBackend(Fabric())])
    with Asker(make_app(Api(Service(store=store, page_max=1000), broker, hosts, limits))) as asker:
        yield asker


def test_what_no_backend_keeps_is_refused_where_it_would_be_in_force(plain_api: Asker) -> None:
    api = plain_api
    assert {"type": "minimum_bandwidth"} not in api.ask("GET", "qos/rule-types").body["rule_types"]
    assert {"type": "minimum_bandwidth"} in api.ask("GET", "qos/rule-types?all_rules=true").body["rule_types"]
    assert api.ask("GET", "qos/rule-types/minimum_bandwidth").body["rule_type"]["drivers"] == []
    least, none = policy(api), policy(api)
    assert rule(api, least, "minimum_bandwidth", min_kbps=1).status == 201
    net = api.ask("POST", "networks", {"network": {"qos_policy_id": none["id"]}}).body["network"]
    body = {"port": {"network_id": net["id"], "qos_policy_id": least["id"]}}
    refused = api.ask("POST", "ports", body)
    assert refused.error == (409, "QosRuleNotSupported")
    assert "minimum_bandwidth" in refused.message and "memory backend" in refused.message
    assert api.ask("POST", "networks", {"network": {"qos_policy_id": least["id"]}}).error == (
        409,
        "QosRuleNotSupportedByNetwork",
    )
    assert rule(api, none, "minimum_bandwidth", min_kbps=1).error == (409, "QosRuleNotSupportedByNetwork")
    assert rule(api, none, "bandwidth_limit", max_kbps=1).status == 201


def test_types_of_rules_are_those_that_backends_realise(api: Asker) -> None:
    kinds = ("bandwidth_limit", "dscp_marking", "minimum_bandwidth", "minimum_packet_rate", "packet_rate_limit")
    realised = [{"type": kind} for kind in kinds]
    assert api.ask("GET", "qos/rule-types").body == {"rule_types": realised}
    assert api.ask("GET", "qos/rule-types?all_supported=true").body == {"rule_types": realised}
    assert api.ask("GET", "qos/rule-types?all_rules=true").body == {"rule_types": realised}
    assert api.ask("GET", "qos/rule-types?all_rules=true&all_supported=true").error == (400, "InvalidInput")
    one = api.ask("GET", "qos/rule-types/bandwidth_limit").body["rule_type"]
    (driver,) = one["drivers"]
    assert driver["name"] == "bridge"
    assert {item["parameter_name"]: item["parameter_values"] for item in driver["supported_parameters"]} == {
        "max_kbps": {"start": 0, "end": 2**31 - 1},
        "max_burst_kbps": {"start": 0, "end": 2**31 - 1},
        "direction": ["ingress", "egress"],
    }
    assert api.ask("GET", "qos/rule-types/nothing").error == (404, "QosRuleTypeNotFound")
