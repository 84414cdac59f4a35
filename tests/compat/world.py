# SPDX-License-Identifier: Apache-2.0
"""A small world behind an API, as its clients and agents make it: networks, workloads, and what hosts say of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import httpx

Row = dict[str, Any]
WHY = "tap tap-vm: the link is held by another program"


class World:
    """Makes objects at an API and reports as agents do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.http.close()

    def create(self, collection: str, **values: object) -> Row:
        name = collection.removesuffix("s")
        answer = self.http.post(f"/v2.0/{collection}", json={name: values})
        assert answer.status_code == 201, answer.text
        row: Row = answer.json()[name]
        return row

    def update(self, collection: str, row: Row, **values: object) -> Row:
        name = collection.removesuffix("s")
        answer = self.http.put(f"/v2.0/{collection}/{row['id']}", json={name: values})
        assert answer.status_code == 200, answer.text
        found: Row = answer.json()[name]
        return found

    def delete(self, collection: str, row: Row) -> None:
        assert self.http.delete(f"/v2.0/{collection}/{row['id']}").status_code == 204

    def network(self, name: str, cidr: str, **values: object) -> Row:
        made = self.create("networks", name=name, **values)
        self.create("subnets", network_id=made["id"], cidr=cidr, ip_version=6 if ":" in cidr else 4)
        return made

    def port(self, network: Row, name: str, host: str = "h1", owner: str = "docker:endpoint", **values: object) -> Row:
        device = {"device_owner": owner, "device_id": f"{name}-device", "binding:host_id": host}
        return self.create("ports", **{"network_id": network["id"], "name": name, **device, **values})

    def ports(self, network: Row, count: int) -> list[Row]:
        """Make many ports at once, all plugged."""
        wanted = [
            {
                "network_id": network["id"],
                "name": f"app-{number}",
                "device_id": f"app-{number}",
                "binding:host_id": "h1",
            }
            for number in range(count)
        ]
        answer = self.http.post("/v2.0/ports", json={"ports": wanted})
        assert answer.status_code == 201, answer.text
        made: list[Row] = answer.json()["ports"]
        self.report("h1", ((port, "active", "") for port in made))
        return made

    def report(self, host: str, ports: Iterable[tuple[Row, str, str]] = ()) -> None:
        """Say what a host has: for each port its state and why."""
        statuses = [{"key": f"vif/{port['id']}", "state": state, "reason": why} for port, state, why in ports]
        body = {"revision": 0, "statuses": statuses, "facts": {"able": "bridge routed"}}
        assert self.http.put(f"/portico/v1/hosts/{host}/status", json=body).status_code == 204

    def join(self, router: Row, network: Row) -> None:
        """Connect a router to a network's first subnet."""
        subnet = {"subnet_id": self.http.get(f"/v2.0/networks/{network['id']}").json()["network"]["subnets"][0]}
        answer = self.http.put(f"/v2.0/routers/{router['id']}/add_router_interface", json=subnet)
        assert answer.status_code == 200, answer.text

    def fill(self) -> dict[str, Row]:
        """Make two backends' networks with ports in every state, a router and a floating IP; returns all by name."""
        self.report("h1")
        self.report("h2")
        blue, shop = self.network("blue", "10.1.0.0/24"), self.network("shop", "10.2.0.0/24")
        fast = self.network("fast", "2001:db8:9::/64", **{"portico:backend": "routed"})
        found = {row["name"]: row for row in (blue, shop, fast)}
        up = [self.port(blue, name) for name in ("web", "api")] + [self.port(fast, "cache")]
        up.append(self.port(shop, "web-shop", device_id="web-device"))
        down, off = self.port(blue, "spare", host=""), self.port(shop, "probe", admin_state_up=False)
        broken = self.port(blue, "vm", host="h2", owner="compute:nova")
        self.report("h1", ((port, "active", "") for port in up))
        self.report("h2", [(broken, "error", WHY)])
        outside = self.network("outside", "203.0.113.0/24", **{"router:external": True})
        edge = self.create("routers", name="edge", external_gateway_info={"network_id": outside["id"]})
        for network in (blue, shop):
            self.join(edge, network)
        floating = self.create("floatingips", floating_network_id=outside["id"], port_id=up[0]["id"])
        named = {row["name"]: row for row in (*up, down, off, broken, outside, edge)}
        return {**found, **named, "floating": floating}
