# SPDX-License-Identifier: Apache-2.0
"""The network that a project gets when it asks for just any, through HTTP."""

from __future__ import annotations

from .asker import Asker, Row

PATH = "auto-allocated-topology"


def counts(api: Asker) -> list[int]:
    return [len(api.list(one, "project_id=red")) for one in ("networks", "subnets", "routers")]


def prepare(api: Asker) -> Row:
    """Make a default external network and default subnet pools of another project."""
    public = api.create("networks", name="public", project_id="root", is_default=True, **{"router:external": True})
    api.create("subnets", network_id=public["id"], project_id="root", ip_version=4, cidr="203.0.113.0/24")
    for prefix, length in (("10.0.0.0/16", 26), ("fd00:1::/48", 64)):
        api.create("subnetpools", name="p", prefixes=[prefix], default_prefixlen=length, is_default=True, shared=True,
                   project_id="root")  # fmt: skip
    return public


def test_what_a_project_asks_for_is_there_and_the_next_time_the_same(api: Asker) -> None:
    public = prepare(api)
    dry = api.get(f"{PATH}/None?fields=dry-run")[PATH.replace("-", "_")]
    assert (dry["id"], dry["project_id"], counts(api)) == ("dry-run=pass", "red", [0, 0, 0])
    made = api.get(f"{PATH}/None")["auto_allocated_topology"]
    assert api.get(f"{PATH}/red")["auto_allocated_topology"] == made
    assert counts(api) == [1, 2, 1]
    assert [row["id"] for row in api.get(PATH)["auto_allocated_topologies"]] == [made["id"]]
    network = api.show("networks", made["id"])
    assert (network["name"], network["admin_state_up"], network["project_id"]) == (
        "auto_allocated_network",
        True,
        "red",
    )
    (router,) = api.list("routers", "project_id=red")
    assert router["external_gateway_info"]["network_id"] == public["id"]
    interfaces = api.list("ports", f"device_id={router['id']}&device_owner=network:router_interface")
    assert {item["subnet_id"] for port in interfaces for item in port["fixed_ips"]} == set(network["subnets"])
    port = api.create("ports", network_id=made["id"])
    assert api.ask("DELETE", f"{PATH}/red").error == (409, "NetworkInUse")
    assert counts(api) == [1, 2, 1], "all of it, or nothing"
    api.delete("ports", port)
    for _ in range(2):
        assert api.ask("DELETE", f"{PATH}/red").status == 204
    assert counts(api) == [0, 0, 0]
    again = api.get(f"{PATH}/red")["auto_allocated_topology"]
    (router,) = api.list("routers", "project_id=red")
    for subnet in api.show("networks", again["id"])["subnets"]:
        body = {"subnet_id": subnet}
        assert api.ask("PUT", f"routers/{router['id']}/remove_router_interface", body).status == 200
    api.delete("routers", router)
    assert api.get(PATH) == {"auto_allocated_topologies": []}, "what is taken apart is none any more"


def test_what_lacks_is_told_and_nothing_is_left_of_half_a_topology(api: Asker) -> None:
    for query in ("", "?fields=dry-run"):
        assert api.ask("GET", f"{PATH}/red{query}").error == (409, "AutoAllocationFailure")
    public = api.create("networks", name="public", is_default=True, **{"router:external": True})
    assert api.ask("GET", f"{PATH}/red").message == "Deployment error: Unable to provide project private network."
    pool = api.create("subnetpools", name="p", prefixes=["203.0.113.0/24"], default_prefixlen=26, is_default=True)
    taken = api.create("subnets", network_id=public["id"], ip_version=4, cidr="203.0.113.0/24")
    assert api.ask("GET", f"{PATH}/red").error == (409, "AutoAllocationFailure"), "it would overlap the way out"
    assert [len(api.list(one)) for one in ("networks", "subnets", "routers")] == [1, 1, 0]
    assert api.ask("GET", f"{PATH}/red?fields=x").error == (400, "BadRequest")
    api.delete("subnets", taken)
    api.delete("subnetpools", pool)


def test_one_external_network_is_the_default_and_stays_everybody_s(api: Asker) -> None:
    first = api.create("networks", is_default=True, **{"router:external": True})
    second = api.create("networks", **{"router:external": True})
    inner = api.create("networks", is_default=True)
    assert (first["is_default"], second["is_default"], inner["is_default"]) == (True, False, False)
    assert api.try_update("networks", second, is_default=True).error == (409, "DefaultExternalNetworkExists")
    assert [row["id"] for row in api.list("networks", "is_default=True")] == [first["id"]]
    api.update("networks", first, description="still")
    assert api.show("networks", first["id"])["is_default"] is True
    (policy,) = api.list("rbac-policies", f"object_id={first['id']}")
    assert api.try_delete("rbac-policies", policy).error == (409, "RbacPolicyInUse")
    api.update("networks", first, **{"router:external": False})
    assert api.show("networks", first["id"])["is_default"] is False
    api.update("networks", second, is_default=True)
