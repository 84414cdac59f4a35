# SPDX-License-Identifier: Apache-2.0
"""Compose files with Portico's networks, run by Debian's docker-compose."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portico.testing.docker_site import DockerSite
from portico.testing.lab import IMAGE

pytestmark = pytest.mark.lab

SLEEP: dict[str, Any] = {"image": IMAGE, "command": ["sleep", "600"], "init": True}


def compose(site: DockerSite, file: dict[str, Any], *words: str, check: bool = True) -> str:
    """Run docker-compose on a file (JSON is YAML) and return what it wrote."""
    path = "/run/lab/compose.yaml"
    site.host.path(path).write_text(json.dumps({"version": "2.4", **file}))
    found = site.host.run(["docker-compose", "-p", "shop", "-f", path, *words], timeout_s=60, check=check)
    return found.out + found.err


def portico(*subnets: str, **options: str) -> dict[str, Any]:
    """Return a network of a compose file."""
    ipam = {"driver": "portico", "config": [{"subnet": subnet} for subnet in subnets]}
    network: dict[str, Any] = {"driver": "portico", "ipam": ipam, "driver_opts": options}
    return {**network, "enable_ipv6": True} if any(":" in subnet for subnet in subnets) else network


def test_services_reach_each_other_by_name_on_networks_of_the_file(site: DockerSite) -> None:
    fixed = {"ipv4_address": "10.1.0.20", "ipv6_address": "2001:db8:1::20", "aliases": ["database"]}
    file = {
        "services": {
            "db": {**SLEEP, "networks": {"back": fixed}},
            "web": {**SLEEP, "networks": ["front", "back"], "depends_on": ["db"]},
        },
        "networks": {"front": portico(), "back": portico("10.1.0.0/24", "2001:db8:1::/64")},
    }
    compose(site, file, "up", "-d")
    for target in ("db", "database", "10.1.0.20", "2001:db8:1::20"):
        assert site.reaches("shop_web_1", target), target
    assert site.reaches("shop_db_1", "web")
    held = {item["ip_address"] for item in site.port_of("shop_db_1", "shop_back")["fixed_ips"]}
    assert held == {"10.1.0.20", "2001:db8:1::20"}
    compose(site, file, "restart", "-t", "0", "db")
    assert site.reaches("shop_web_1", "db")
    compose(site, file, "up", "-d", "-t", "0", "--scale", "web=4")
    assert all(site.reaches(f"shop_web_{number}", "10.1.0.20") for number in range(1, 5))
    compose(site, file, "down", "-t", "0")
    site.wait_until_clean()


def test_services_use_a_network_that_was_there_before(site: DockerSite) -> None:
    site.create("there", "--subnet", "10.1.0.0/24")
    site.run("old", "there", "--ip", "10.1.0.9")
    file = {
        "services": {"web": {**SLEEP, "networks": {"there": {"ipv4_address": "10.1.0.20"}}}},
        "networks": {"there": {"external": True}},
    }
    compose(site, file, "up", "-d")
    assert site.reaches("shop_web_1", "old") and site.reaches("old", "10.1.0.20")
    compose(site, file, "down", "-t", "0")
    assert [network["name"] for network in site.api.list("networks")] == ["there"]
    assert site.reaches("old", "10.1.0.9")
    site.docker("rm", "-f", "old")


def test_what_portico_refuses_compose_shows(site: DockerSite) -> None:
    file = {"services": {"web": {**SLEEP, "networks": ["bad"]}}}
    wrong = portico("10.1.0.0/24", **{"portico.exposed": "true"})
    told = compose(site, {**file, "networks": {"bad": wrong}}, "up", "-d", check=False)
    assert "portico.exposed does not exist; did you mean portico.expose?" in told
    half = {"driver": "portico", "ipam": {"config": [{"subnet": "10.1.0.0/24"}]}}
    told = compose(site, {**file, "networks": {"bad": half}}, "up", "-d", check=False)
    assert "create the network with --ipam-driver portico" in told
