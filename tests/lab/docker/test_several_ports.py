# SPDX-License-Identifier: Apache-2.0
"""Ports without addresses, and ports on networks of several kinds in one container or virtual machine, by packets."""

from __future__ import annotations

import pytest

from portico.testing.docker_site import DockerSite

pytestmark = pytest.mark.lab


def test_a_container_without_addresses_has_a_link_and_gives_itself_what_it_likes(site: DockerSite) -> None:
    site.docker("network", "create", "-d", "portico", "--ipam-driver", "null", "raw")
    for name in ("one", "two"):
        site.run(name, "raw", "--cap-add", "NET_ADMIN")
    assert "inet" not in site.execute("one", "ip", "address", "show", "dev", "eth0").out
    assert site.network_settings("one", "raw")["IPAddress"] == ""
    mac = site.network_settings("one", "raw")["MacAddress"]
    assert mac in site.execute("one", "ip", "link", "show", "dev", "eth0").out
    port = site.port_of("one", "raw")
    assert (port["mac_address"], port["fixed_ips"], port["status"]) == (mac, [], "ACTIVE")
    site.execute("one", "ip", "address", "add", "192.0.2.1/24", "dev", "eth0")
    site.execute("two", "ip", "address", "add", "192.0.2.2/24", "dev", "eth0")
    assert site.reaches("one", "192.0.2.2") and site.reaches("two", "192.0.2.1")
    site.execute("one", "ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")
    assert not site.reaches("one", "192.0.2.2")
    site.execute("one", "ip", "link", "set", "eth0", "address", mac)
    assert site.reaches("one", "192.0.2.2")


def test_an_existing_port_gives_its_addresses_where_docker_asks_for_none(site: DockerSite) -> None:
    network = site.api.create("networks", {"name": "green"})
    for cidr in ("10.3.0.0/24", "2001:db8:3::/64"):
        body = {"network_id": network["id"], "cidr": cidr, "ip_version": 6 if ":" in cidr else 4}
        site.api.create("subnets", body)
    for name in ("mine", "other"):
        site.api.create("ports", {"network_id": network["id"], "name": name})
    site.docker("network", "create", "-d", "portico", "--ipam-driver", "null", "-o", "portico.network=green", "green")
    for name, port in (("one", "mine"), ("two", "other")):
        site.run(name, "none")
        site.docker("network", "disconnect", "none", name)
        site.docker("network", "connect", "--driver-opt", f"portico.port={port}", "green", name)
    [other] = site.api.list("ports", name="other")
    for item in other["fixed_ips"]:
        assert site.reaches("one", item["ip_address"])
    site.clear()
    for left in site.api.list("ports"):
        assert left["device_owner"] == ""  # given back
        site.api.delete("ports", left["id"])
    site.api.delete("networks", network["id"])
