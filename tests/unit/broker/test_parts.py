# SPDX-License-Identifier: Apache-2.0
"""The parts of all backends together are everything, whatever changes in whatever order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from portico.broker.parts import Key, Parts
from portico.model.snapshot import RESOURCES, Snapshot, Value

BACKENDS = ("bridge", "routed")
Rows = dict[Key, dict[str, Any]]

NETWORKS, GROUPS = [f"n{n}" for n in range(3)], [f"g{n}" for n in range(2)]
# Of what there may be: (resource, id, what varies). A backend that is not installed has no part.
EDITS = st.one_of(
    st.tuples(st.just("network"), st.sampled_from(NETWORKS), st.sampled_from([*BACKENDS, "gone", None])),
    st.tuples(st.just("subnet"), st.sampled_from(["s0", "s1"]), st.sampled_from([*NETWORKS, None])),
    st.tuples(st.just("port"), st.sampled_from(["p0", "p1", "p2"]), st.sampled_from([*NETWORKS, None])),
    st.tuples(st.just("security_group"), st.sampled_from(GROUPS), st.sampled_from([True, False, None])),
    st.tuples(st.just("address_group"), st.just("a0"), st.sampled_from(["192.0.2.0/28", "192.0.2.7/32", None])),
)


def row_of(resource: str, object_id: str, value: Any) -> dict[str, Any]:
    of_network = {"network_id": value, "project_id": "red", "name": ""}
    match resource:
        case "network":
            place = {f"provider:{name}": None for name in ("network_type", "physical_network", "segmentation_id")}
            row = {
                "mtu": 1500,
                "admin_state_up": True,
                "portico:backend": value,
                "project_id": "red",
                "name": "",
                **place,
            }
        case "subnet":
            row = {**of_network, "cidr": "192.0.2.0/24", "gateway_ip": None, "enable_dhcp": False,
                   "dns_nameservers": [], "host_routes": [], "ipv6_ra_mode": None,
                   "ipv6_address_mode": None}  # fmt: skip
        case "port":
            row = {**of_network, "mac_address": "00:00:5e:00:53:01", "fixed_ips": [], "admin_state_up": True,
                   "port_security_enabled": True, "security_groups": GROUPS, "allowed_address_pairs": [],
                   "binding:host_id": "h1", "binding:profile": {}, "binding:vnic_type": "normal", "device_owner": "",
                   "device_id": "", "extra_dhcp_opts": []}  # fmt: skip
        case "security_group":
            row = {"project_id": "red", "stateful": value}
        case _:
            row = {"addresses": [value]}
    return {**row, "id": object_id}


def objects(want: Snapshot) -> dict[Key, Value]:
    return {(resource, item): value for resource in RESOURCES for item, value in want.objects(resource).items()}


def edit(rows: Rows, resource: str, object_id: str, value: Any) -> dict[Key, dict[str, Any] | None]:
    """Change `rows` and return what differs; with a network goes what is on it, as the store has it."""
    key = resource, object_id
    if value is not None:
        if resource in ("subnet", "port") and ("network", value) not in rows:
            return {}
        old = rows.get(key)
        if resource in ("subnet", "port") and old is not None and old["network_id"] != value:
            return {}
        rows[key] = row_of(resource, object_id, value)
        return {key: rows[key]}
    on_it = [k for k, row in rows.items() if resource == "network" and row.get("network_id") == object_id]
    return {k: None for k in (key, *on_it) if rows.pop(k, None) is not None}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(EDITS, min_size=1, max_size=4), max_size=12))
def test_lanes_hold_what_a_load_would_give_them_and_together_everything(
    batches: list[list[tuple[str, str, Any]]],
) -> None:
    parts, lanes, rows = Parts(BACKENDS), {name: Snapshot() for name in BACKENDS}, Rows()
    for batch in batches:
        changed: dict[Key, dict[str, Any] | None] = {}
        for one in batch:
            changed |= edit(rows, *one)
        for name, part in parts.change(changed).items():
            for (resource, object_id), value in part.items():
                if value is None:
                    lanes[name].remove(resource, object_id)
                else:
                    lanes[name].place(resource, value)
        expected = Parts(BACKENDS).load(rows)
        assert {name: objects(lane) for name, lane in lanes.items()} == expected
        united = {key: value for lane in lanes.values() for key, value in objects(lane).items()}
        whole = Snapshot()
        for (resource, _), row in rows.items():
            whole.put(resource, row)
        elsewhere = {name for name, network in whole.networks.items() if network.backend not in BACKENDS}
        assert parts.elsewhere() == {whole.networks[name].backend for name in elsewhere}
        assert united == {
            key: value
            for key, value in objects(whole).items()
            if elsewhere.isdisjoint({key[1], getattr(value, "network_id", "")})
        }
        shared = {key for key in united if key[0] in ("network", "subnet", "port")}
        assert sum(key in objects(lane) for lane in lanes.values() for key in shared) == len(shared)


def test_a_backend_of_services_has_everything_on_all_networks_and_its_own_services() -> None:
    services = {"mirror": "mirrors"}
    parts = Parts(("bridge", "mirrors"), services)
    rows = {
        ("network", "n0"): row_of("network", "n0", "bridge"),
        ("network", "n1"): row_of("network", "n1", "gone"),
        ("port", "p0"): row_of("port", "p0", "n0"),
        ("port", "p1"): row_of("port", "p1", "n1"),
        ("security_group", "g0"): row_of("security_group", "g0", True),
        ("mirror", "m0"): {"id": "m0", "port_id": "p0", "status": "DOWN", "revision_number": 1},
        ("tunnel", "t0"): {"id": "t0"},
    }
    loaded = parts.load(rows)
    assert set(loaded["mirrors"]) == rows.keys() - {("tunnel", "t0")}
    assert set(loaded["bridge"]) == {("network", "n0"), ("port", "p0"), ("security_group", "g0")}
    written = {"id": "m0", "port_id": "p0", "status": "ACTIVE", "revision_number": 2}
    assert parts.change({("mirror", "m0"): written})["mirrors"] == {("mirror", "m0"): loaded["mirrors"]["mirror", "m0"]}
    assert parts.change({("mirror", "m0"): None}) == {"mirrors": {("mirror", "m0"): None}}
    moved = parts.change({("network", "n1"): row_of("network", "n1", "bridge")})
    assert {name: set(part) for name, part in moved.items()} == {
        name: {("network", "n1"), ("port", "p1")} for name in ("bridge", "mirrors")
    }
    snapshot = Snapshot()
    snapshot.put("mirror", written)
    assert snapshot.objects("mirror")["m0"] == snapshot.services["mirror"]["m0"]
    snapshot.remove("mirror", "m0")
    assert snapshot.objects("mirror") == {}
