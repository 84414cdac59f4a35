# SPDX-License-Identifier: Apache-2.0
"""QoS policies of floating IPs and of routers' gateways."""

from __future__ import annotations

from .asker import Asker, Row
from .floating import GATEWAY, Site

ABSENT = "00000000-0000-4000-8000-000000000001"


def policy(api: Asker, kind: str = "bandwidth_limit", **rule: object) -> str:
    made: Row = api.ask("POST", "qos/policies", {"policy": {"name": "p"}}).body["policy"]
    if rule:
        assert add(api, made["id"], kind, **rule) == 201
    return str(made["id"])


def add(api: Asker, policy_id: str, kind: str, **rule: object) -> object:
    answer = api.ask("POST", f"qos/policies/{policy_id}/{kind}_rules", {f"{kind}_rule": rule})
    return answer.status if answer.status < 400 else (*answer.error, answer.message)


def test_a_floating_ip_has_a_policy_of_its_own_or_its_networks(api: Asker) -> None:
    site = Site(api)
    own, whole = policy(api, max_kbps=1000), policy(api, max_kbps=2000)
    made = site.floating(qos_policy_id=own)
    assert (made["qos_policy_id"], made["qos_network_policy_id"]) == (own, None)
    network = f"networks/{site.outside['id']}"
    assert api.ask("PUT", network, {"network": {"qos_policy_id": whole}}).status == 200
    assert site.floating()["qos_network_policy_id"] == site.now(made)["qos_network_policy_id"] == whole
    refused = api.ask("DELETE", f"qos/policies/{own}")
    assert refused.error == (409, "QosPolicyInUse") and f"floatingip {made['id']}" in refused.message
    port = api.port(site.inside, fixed_ips=[{"subnet_id": site.inside["subnets"][0]}])
    path = f"floatingips/{made['id']}"
    assert api.ask("PUT", path, {"floatingip": {"port_id": port["id"]}}).status == 200
    changed = api.ask("PUT", path, {"floatingip": {"qos_policy_id": whole}}).body["floatingip"]
    assert (changed["qos_policy_id"], changed["port_id"]) == (whole, port["id"]), "where it leads is not touched"
    assert api.ask("DELETE", f"qos/policies/{own}").status == 204
    assert api.ask("PUT", path, {"floatingip": {"qos_policy_id": None}}).body["floatingip"]["qos_policy_id"] is None
    assert site.try_floating(qos_policy_id=ABSENT).error == (404, "QosPolicyNotFound")


def test_a_gateway_has_a_policy_until_it_is_taken_away(api: Asker) -> None:
    site = Site(api)
    own, other = policy(api, max_kbps=1000), policy(api)
    path = f"routers/{site.router['id']}"

    def put(**info: object) -> Row:
        body = {"router": {GATEWAY: {"network_id": site.outside["id"], **info}}}
        answer = api.ask("PUT", path, body)
        return dict(answer.body["router"][GATEWAY]) if answer.status == 200 else {"refused": answer.error}

    assert "qos_policy_id" not in site.router[GATEWAY]
    assert put(qos_policy_id=own)["qos_policy_id"] == own
    assert put()["qos_policy_id"] == own, "who does not name it leaves it"
    told = api.ask("GET", path).body["router"]
    assert [item["qos_policy_id"] for item in told["external_gateways"]] == [told[GATEWAY]["qos_policy_id"]] == [own]
    refused = api.ask("DELETE", f"qos/policies/{own}")
    assert refused.error == (409, "QosPolicyInUse") and f"router {site.router['id']}" in refused.message
    assert put(qos_policy_id=ABSENT) == {"refused": (404, "QosPolicyNotFound")}
    elsewhere = api.network("192.0.2.0/24", **{"router:external": True})
    assert put(network_id=elsewhere["id"])["qos_policy_id"] == own, "it is the router's, whatever the network"
    assert put(network_id=elsewhere["id"], qos_policy_id=other)["qos_policy_id"] == other
    assert "qos_policy_id" not in put(network_id=elsewhere["id"], qos_policy_id=None)
    assert put(network_id=elsewhere["id"], qos_policy_id=own)["qos_policy_id"] == own
    assert api.ask("PUT", path, {"router": {GATEWAY: {}}}).status == 200
    assert api.ask("DELETE", f"qos/policies/{own}").status == 204
    born = api.create("routers", **{GATEWAY: {"network_id": site.outside["id"], "qos_policy_id": other}})
    assert born[GATEWAY]["qos_policy_id"] == other


def test_outside_only_bandwidth_is_limited(api: Asker) -> None:
    site = Site(api)
    mark, plain = policy(api, "dscp_marking", dscp_mark=10), policy(api, max_kbps=5)
    refused = site.try_floating(qos_policy_id=mark)
    assert refused.error == (409, "QosRuleNotSupported") and "dscp_marking" in refused.message
    body = {"router": {GATEWAY: {"network_id": site.outside["id"], "qos_policy_id": mark}}}
    refused = api.ask("PUT", f"routers/{site.router['id']}", body)
    assert refused.error == (409, "QosRuleNotSupported") and f"router {site.router['id']}" in refused.message
    made = site.floating(qos_policy_id=plain)
    told = add(api, plain, "packet_rate_limit", max_kpps=1)
    assert isinstance(told, tuple) and told[:2] == (409, "QosRuleNotSupported") and made["id"] in told[2]
    body["router"][GATEWAY]["qos_policy_id"] = plain
    assert api.ask("PUT", f"routers/{site.router['id']}", body).status == 200
    assert api.ask("DELETE", f"floatingips/{made['id']}").status == 204
    told = add(api, plain, "minimum_bandwidth", min_kbps=1)
    assert isinstance(told, tuple) and told[:2] == (409, "QosRuleNotSupported") and site.router["id"] in told[2]
    assert add(api, plain, "bandwidth_limit", max_kbps=9, direction="ingress") == 201
