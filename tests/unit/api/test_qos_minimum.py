# SPDX-License-Identifier: Apache-2.0
"""What ports are to have at least: rules of it, what placement is asked for, and hosts that carry no more."""

from __future__ import annotations

import time
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portico.rules import agent, qos_minimum
from portico.store.store import Store

from .asker import Answer, Asker, Row

TOO_MUCH = (409, "QosPlacementAllocationConflict")


def policy(api: Asker, **rules: Row) -> str:
    """Make a policy with a rule of each type that is named."""
    made: Row = api.ask("POST", "qos/policies", {"policy": {"name": "p"}}).body["policy"]
    for kind, body in rules.items():
        assert rule(api, made["id"], kind, **body).status == 201
    return str(made["id"])


def rule(api: Asker, policy_id: str, kind: str, **body: object) -> Answer:
    return api.ask("POST", f"qos/policies/{policy_id}/{kind}_rules", {f"{kind}_rule": body})


def carries(store: Store, host: str, **told: int) -> None:
    """Have the agent of a host tell what that carries."""
    with store.write() as tx:
        facts = {"configurations": {name: str(value) for name, value in told.items()}}
        agent.heartbeat(tx, host, "Portico agent", "portico-agent", facts, time.time())


def network(api: Asker, policy_id: str | None = None) -> str:
    return str(api.ask("POST", "networks", {"network": {"qos_policy_id": policy_id}}).body["network"]["id"])


def port(api: Asker, network_id: str, host: str, policy_id: str | None = None, **body: object) -> Answer:
    wanted = {"network_id": network_id, "binding:host_id": host, "qos_policy_id": policy_id, **body}
    return api.ask("POST", "ports", {"port": wanted})


def test_a_host_is_given_ports_until_what_it_carries_is_gone(api: Asker, store: Store) -> None:
    carries(store, "h1", bandwidth_kbps=1000)
    carries(store, "h2", bandwidth_kbps=300)
    most, net = policy(api, minimum_bandwidth={"min_kbps": 600}), network(api)
    assert port(api, net, "h1", None).status == 201
    first = port(api, net, "h1", most).body["port"]
    refused = port(api, net, "h1", most)
    assert refused.error == TOO_MUCH
    for part in ("h1", "1200 kbit/s egress", f"port {first['id']} 600", "carries 1000", "agent.bandwidth_kbps"):
        assert part in refused.message
    assert port(api, net, "h2", most).error == TOO_MUCH, "not even one fits"
    assert "does not tell" in port(api, net, "h1", policy(api, minimum_packet_rate={"min_kpps": 1})).message
    assert len(api.ask("GET", "ports?binding:host_id=h1").body["ports"]) == 2, "what was refused left nothing"
    ingress = policy(api, minimum_bandwidth={"min_kbps": 1000, "direction": "ingress"})
    assert port(api, net, "h1", ingress).status == 201, "each way is counted for itself"
    free = port(api, net, "", most).body["port"]
    move = {"port": {"binding:host_id": "h1"}}
    assert api.ask("PUT", f"ports/{free['id']}", move).error == TOO_MUCH
    assert api.ask("PUT", f"ports/{first['id']}", {"port": {"binding:host_id": ""}}).status == 200
    assert api.ask("PUT", f"ports/{free['id']}", move).status == 200
    assert api.ask("PUT", f"ports/{free['id']}", {"port": {"name": "same"}}).status == 200


def test_packets_of_all_directions_are_counted_together(api: Asker, store: Store) -> None:
    carries(store, "h1", packet_rate_kpps=100)
    net, any_way = network(api), policy(api, minimum_packet_rate={"min_kpps": 60, "direction": "any"})
    assert port(api, net, "h1", any_way).status == 201
    assert port(api, net, "h1", policy(api, minimum_packet_rate={"min_kpps": 40})).status == 201
    refused = port(api, net, "h1", policy(api, minimum_packet_rate={"min_kpps": 1, "direction": "ingress"}))
    assert refused.error == TOO_MUCH and "101 thousand packets a second" in refused.message


def test_what_makes_ports_ask_for_more_is_refused_where_it_is_not_to_be_had(api: Asker, store: Store) -> None:
    carries(store, "h1", bandwidth_kbps=1000)
    some, more = (policy(api, minimum_bandwidth={"min_kbps": value}) for value in (400, 700))
    net = network(api, some)
    one, two = (port(api, net, "h1").body["port"]["id"] for _ in range(2))
    assert port(api, net, "h1").error == TOO_MUCH
    refused = api.ask("PUT", f"networks/{net}", {"network": {"qos_policy_id": more}})
    assert refused.error == TOO_MUCH and f"network {net}" in refused.message
    assert api.ask("PUT", f"ports/{one}", {"port": {"qos_policy_id": more}}).error == TOO_MUCH
    [had] = api.ask("GET", f"qos/policies/{some}").body["policy"]["rules"]
    path = f"qos/policies/{some}/minimum_bandwidth_rules/{had['id']}"
    refused = api.ask("PUT", path, {"minimum_bandwidth_rule": {"min_kbps": 501}})
    assert refused.error == TOO_MUCH and f"policy {some}" in refused.message
    assert api.ask("GET", path).body["minimum_bandwidth_rule"]["min_kbps"] == 400
    assert api.ask("PUT", path, {"minimum_bandwidth_rule": {"min_kbps": 500}}).status == 200
    assert rule(api, some, "minimum_bandwidth", min_kbps=501, direction="ingress").error == TOO_MUCH
    carries(store, "h1", bandwidth_kbps=10)
    assert api.ask("PUT", path, {"minimum_bandwidth_rule": {"min_kbps": 499}}).status == 200, "less is never refused"
    own = policy(api, bandwidth_limit={"max_kbps": 1})
    assert api.ask("PUT", f"ports/{two}", {"port": {"qos_policy_id": own}}).status == 200
    assert api.ask("DELETE", path).status == 204


def test_a_port_on_its_way_must_have_room_where_it_goes(api: Asker, store: Store) -> None:
    carries(store, "h1", bandwidth_kbps=1000)
    carries(store, "h2", bandwidth_kbps=700)
    most, net = policy(api, minimum_bandwidth={"min_kbps": 600}), network(api)
    moving = port(api, net, "h1", most, device_owner="compute:nova").body["port"]["id"]
    path = f"ports/{moving}/bindings"
    assert api.ask("POST", path, {"binding": {"host": "h2"}}).status == 201
    assert port(api, net, "h2", most).status == 201
    assert api.ask("PUT", f"{path}/h2/activate").error == TOO_MUCH
    assert api.ask("DELETE", f"{path}/h2").status == 204
    refused = api.ask("POST", path, {"binding": {"host": "h2"}})
    assert refused.error == TOO_MUCH and "1200 kbit/s egress" in refused.message


def test_a_port_tells_placement_what_it_is_to_have(api: Asker) -> None:
    both = policy(
        api, minimum_bandwidth={"min_kbps": 600}, minimum_packet_rate={"min_kpps": 3, "direction": "any"},
        bandwidth_limit={"max_kbps": 700},
    )  # fmt: skip
    rule(api, both, "minimum_bandwidth", min_kbps=5, direction="ingress")
    rules = api.ask("GET", f"qos/policies/{both}").body["policy"]["rules"]
    ids = {kind: ":".join(it["id"] for it in rules if it["type"] == kind) for kind in {it["type"] for it in rules}}
    net = network(api, both)
    made = port(api, net, "").body["port"]
    groups = made["resource_request"]["request_groups"]
    assert [group["resources"] for group in groups] == [
        {"NET_BW_EGR_KILOBIT_PER_SEC": 600, "NET_BW_IGR_KILOBIT_PER_SEC": 5},
        {"NET_PACKET_RATE_KILOPACKET_PER_SEC": 3},
    ]
    assert [group["required"] for group in groups] == [
        ["CUSTOM_NETWORK_TUNNEL_PROVIDER", "CUSTOM_VNIC_TYPE_NORMAL"],
        ["CUSTOM_VNIC_TYPE_NORMAL"],
    ]
    expected = [
        str(uuid.uuid5(uuid.UUID(made["id"]), ids[kind])) for kind in ("minimum_bandwidth", "minimum_packet_rate")
    ]
    assert made["resource_request"]["same_subtree"] == [group["id"] for group in groups] == expected
    for plain in (policy(api, bandwidth_limit={"max_kbps": 1}), policy(api)):
        assert port(api, net, "", plain).body["port"]["resource_request"] is None


def test_a_port_on_a_wire_tells_placement_which(api: Asker, store: Store) -> None:
    made = port(api, network(api, policy(api, minimum_bandwidth={"min_kbps": 1})), "").body["port"]
    with store.read() as tx:
        [row], [net] = tx.find("port", id=made["id"]), tx.find("network", id=made["network_id"])
        qos_minimum.present(tx, [row], {net["id"]: {**net, "provider:physical_network": "dc-1.east"}})
    [group] = row["resource_request"]["request_groups"]
    assert group["required"] == ["CUSTOM_PHYSNET_DC_1_EAST", "CUSTOM_VNIC_TYPE_NORMAL"]


@pytest.fixture(scope="module")
def policies(lasting_api: Asker, lasting_store: Store) -> dict[int, str]:
    """Policies by how much they let ports have, with two hosts that carry 700."""
    for host in ("h1", "h2"):
        carries(lasting_store, host, bandwidth_kbps=700)
    return {value: policy(lasting_api, minimum_bandwidth={"min_kbps": value}) for value in (0, 200, 350, 500)}


@pytest.mark.parametrize(("first", "second"), [("any", "egress"), ("ingress", "any"), ("any", "any")])
def test_packets_of_any_direction_are_those_of_each(api: Asker, first: str, second: str) -> None:
    one = policy(api, minimum_packet_rate={"min_kpps": 2, "direction": first})
    assert rule(api, one, "minimum_packet_rate", min_kpps=3, direction=second).error == (409, "QoSRulesConflict")
    [had] = api.ask("GET", f"qos/policies/{one}").body["policy"]["rules"]
    path = f"qos/alias-minimum-packet-rate-rules/{had['id']}"
    told = api.ask("PUT", path, {"alias_minimum_packet_rate_rule": {"direction": "egress"}}).body
    assert told["alias_minimum_packet_rate_rule"] == {"id": had["id"], "min_kpps": 2, "direction": "egress"}
    assert rule(api, one, "minimum_packet_rate", min_kpps=3, direction="ingress").status == 201


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.tuples(st.sampled_from(["h1", "h2", ""]), st.sampled_from([0, 200, 350, 500])), max_size=4))
def test_no_host_ever_promises_more_than_it_carries(
    lasting_api: Asker, lasting_store: Store, policies: dict[int, str], steps: list[tuple[str, int]]
) -> None:
    net, sums, ids = network(lasting_api), {"h1": 0, "h2": 0}, list[str]()
    for host, value in steps:
        answer = port(lasting_api, net, host, policies[value])
        fits = not host or not value or sums[host] + value <= 700
        assert answer.status == (201 if fits else 409)
        if fits:
            ids.append(answer.body["port"]["id"])
            sums |= {host: sums[host] + value} if host else {}
    for port_id in ids:
        assert lasting_api.ask("DELETE", f"ports/{port_id}").status == 204
