# SPDX-License-Identifier: Apache-2.0
"""The backend of a Docker network, and the routes of one without L2."""

from __future__ import annotations

from typing import Any

import pytest

from portico.docker import route
from portico.testing.docker_calls import CallFailed, EngineCalls
from portico.testing.in_process import InProcessApi

DETAILS = {"connectivity": "l3", "next_hop_v4": "169.254.1.1", "next_hop_v6": "fe80::1"}
V4 = {"Destination": "169.254.1.1/32", "RouteType": 1}
V6 = {"Destination": "fe80::1/128", "RouteType": 1}


def port(*addresses: str) -> dict[str, Any]:
    return {"binding:vif_details": DETAILS, "fixed_ips": [{"ip_address": address} for address in addresses]}


def test_each_ip_version_has_its_next_hop_by_the_link_and_the_networks_prefixes_by_that() -> None:
    found = route.to_join(port("10.1.0.5", "2001:db8::5"), ["2001:db8::/64", "10.1.0.0/24"], default_route=True)
    assert found == {
        "Gateway": "169.254.1.1",
        "GatewayIPv6": "fe80::1",
        "StaticRoutes": [
            V4,
            V6,
            {"Destination": "10.1.0.0/24", "RouteType": 0, "NextHop": "169.254.1.1"},
            {"Destination": "2001:db8::/64", "RouteType": 0, "NextHop": "fe80::1"},
        ],
    }


def test_a_version_without_address_has_no_route() -> None:
    found = route.to_join(port("2001:db8::5"), ["2001:db8::/64", "10.1.0.0/24"], default_route=True)
    assert found["GatewayIPv6"] == "fe80::1" and "Gateway" not in found
    assert [item["Destination"] for item in found["StaticRoutes"]] == ["fe80::1/128", "2001:db8::/64"]


def test_a_network_that_carries_no_default_route_is_reached_all_the_same() -> None:
    found = route.to_join(port("10.1.0.5"), ["10.1.0.0/24", "10.7.0.0/16"], default_route=False)
    assert set(found) == {"StaticRoutes"}
    assert [item["Destination"] for item in found["StaticRoutes"]] == ["169.254.1.1/32", "10.1.0.0/24", "10.7.0.0/16"]


def test_the_backend_of_an_existing_network_is_not_changed_by_an_option(engine: EngineCalls, api: InProcessApi) -> None:
    network = api.create("networks", {"name": "blue"})
    api.create("subnets", {"network_id": network["id"], "cidr": "10.1.0.0/24", "ip_version": 4})
    with pytest.raises(
        CallFailed, match=r"Network 'blue' is on backend bridge: -o portico\.backend cannot make it rout"
    ):
        engine.create_network("10.1.0.0/24", options={"portico.network": "blue", "portico.backend": "routed"})
    same = {"portico.network": "blue", "portico.backend": "bridge"}
    engine.connect(engine.create_network("10.1.0.0/24", options=same))


def test_options_that_mean_nothing_are_refused_and_leave_nothing(engine: EngineCalls, api: InProcessApi) -> None:
    with pytest.raises(CallFailed, match="portico:backend 'nonesuch' is no backend here; known are: bridge"):
        engine.create_network("10.1.0.0/24", options={"portico.backend": "nonesuch"})
    with pytest.raises(CallFailed, match=r"portico\.gateway=true: network 'docker-\w+' has no router with the"):
        engine.create_network("10.1.0.0/24", options={"portico.gateway": "true"})
    with pytest.raises(CallFailed, match=r"portico\.gateway 'maybe' is neither true nor false"):
        engine.create_network("10.1.0.0/24", options={"portico.gateway": "maybe"})
    assert api.list("networks") == []
    engine.create_network("10.1.0.0/24", options={"portico.gateway": "false"})
