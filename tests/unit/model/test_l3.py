# SPDX-License-Identifier: Apache-2.0
"""Routers, floating IPs and port forwardings as the snapshot holds them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.model.l3 import FLOATING_OWNER, GATEWAY_OWNER, INTERFACE_OWNER, Gateway
from portico.model.snapshot import Snapshot
from portico.model.values import read


def router(object_id: str, **given: Any) -> dict[str, Any]:
    return {"id": object_id, "name": "", "project_id": "red", "admin_state_up": True, "external_gateway_info": None,
            "routes": [], **given}  # fmt: skip


def port(object_id: str, owner: str, router_id: str, network_id: str) -> dict[str, Any]:
    return {"id": object_id, "project_id": "red", "network_id": network_id, "name": "",
            "mac_address": "fa:16:3e:00:00:01",
            "fixed_ips": [], "admin_state_up": True, "port_security_enabled": False, "security_groups": [],
            "allowed_address_pairs": [], "binding:host_id": "", "binding:profile": {}, "binding:vnic_type": "normal",
            "device_owner": owner, "device_id": router_id, "extra_dhcp_opts": []}  # fmt: skip


def floating(object_id: str, router_id: str | None) -> dict[str, Any]:
    return {"id": object_id, "floating_ip_address": "192.0.2.9", "floating_network_id": "out", "router_id": router_id,
            "port_id": "p" if router_id else None, "fixed_ip_address": "10.0.0.9" if router_id else None}  # fmt: skip


def forwarding(object_id: str, floatingip_id: str, **given: Any) -> dict[str, Any]:
    return {"id": object_id, "floatingip_id": floatingip_id, "protocol": "tcp", "internal_port_id": "p",
            "internal_ip_address": "10.0.0.9", "external_port": 8080, "internal_port": 80, **given}  # fmt: skip


def test_a_router_has_all_its_gateways_and_its_routes() -> None:
    one = {"network_id": "out", "enable_snat": False, "external_fixed_ips": []}
    value: Any = read("router", router("r", external_gateway_info=one, routes=[{"destination": "10.9.0.0/16",
                                                                              "nexthop": "10.0.0.7"}]))  # fmt: skip
    assert value.gateways == (Gateway("", "out", enable_snat=False),)
    assert value.routes == ((ip_network("10.9.0.0/16"), ip_address("10.0.0.7")),)
    several: Any = read(
        "router", router("r", external_gateway_info=one, external_gateways=[one, {"network_id": "two"}])
    )
    assert [item.network_id for item in several.gateways] == ["out", "two"]
    assert read("router", router("r")).gateways == ()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "external", "internal"),
    [
        ({}, (8080, 8080), (80, 80)),
        ({"external_port": None, "internal_port": None, "external_port_range": "8080:8089",
          "internal_port_range": "80:89"}, (8080, 8089), (80, 89)),
        ({"external_port_range": "8080:8080", "internal_port_range": "80:80"}, (8080, 8080), (80, 80)),
    ],
)  # fmt: skip
def test_a_forwarding_has_its_ports_however_they_were_given(
    given: dict[str, Any], external: tuple[int, int], internal: tuple[int, int]
) -> None:
    value: Any = read("port_forwarding", forwarding("x", "f", **given))
    assert (value.external_ports, value.internal_ports) == (external, internal)
    assert value.host_addresses == ()


def rows(resource: str, object_id: str, other: str) -> dict[str, Any]:
    match resource:
        case "router":
            return router(object_id)
        case "floatingip":
            return floating(object_id, other)
        case "port_forwarding":
            return forwarding(object_id, other)
    return port(object_id, (INTERFACE_OWNER, GATEWAY_OWNER, FLOATING_OWNER)[int(object_id)], other, f"n{other}")


EDITS = st.tuples(
    st.sampled_from(["router", "floatingip", "port_forwarding", "port"]),
    st.sampled_from(["0", "1", "2"]),
    st.sampled_from(["0", "1", None]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EDITS, max_size=14))
def test_indexes_are_those_of_what_is_left(edits: list[tuple[str, str, str | None]]) -> None:
    want = Snapshot()
    left: dict[tuple[str, str], str] = {}
    for resource, object_id, other in edits:
        left.pop((resource, object_id), None)
        if other is None:
            want.remove(resource, object_id)
        else:
            left[resource, object_id] = other
            want.put(resource, rows(resource, object_id, other))
    found = {
        (kind, item) for kind in ("router", "floatingip", "port_forwarding", "port") for item in want.objects(kind)
    }
    assert found == left.keys()
    of_router: dict[str, set[str]] = {}
    for (resource, object_id), other in left.items():
        if resource == "port" and object_id != "2":  # an address of a floating IP is no interface
            of_router.setdefault(other, set()).add(object_id)
    assert want.ports_of_router == of_router
    assert {network[1:] for network in want.routers_of_network} == of_router.keys()
    for resource, index in (
        ("floatingip", want.floating_ips_of_router),
        ("port_forwarding", want.forwardings_of_floating_ip),
    ):
        assert {(owner, item) for owner, ids in index.items() for item in ids} == {
            (other, object_id) for (kind, object_id), other in left.items() if kind == resource
        }
