# SPDX-License-Identifier: Apache-2.0
"""Networks of a real Neutron server behind Portico's API. Part of `make conformance`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance.keystone import ADMIN
from conformance.neutron import Neutron

from conformance import keystone, neutron, portico
from portico.client import Client
from portico.hoststate import Report, Status
from portico.testing.lab.process import wait_until

Row = dict[str, Any]
HOST, EMPTY = "node-1", "node-2"
"""A host with an Open vSwitch agent, as the remote sees it, and one without."""
WITHIN_S = 30


class Site:
    """Portico, and the remote behind it."""

    def __init__(self, client: Client, remote: Neutron) -> None:
        self.client = client
        self.remote = remote

    def create(self, collection: str, **body: Any) -> Row:
        return self.client.create(collection, body)

    def get(self, collection: str, our_id: str) -> Row:
        [found] = self.client.list(collection, id=our_id)
        return found

    def theirs(self, collection: str, our_id: str) -> Row | None:
        """Return the remote's object for one of ours."""
        key = collection.replace("-", "_")
        found = [row for row in self.remote.ask("GET", collection)[key] if row["description"] == f"portico:{our_id}"]
        assert len(found) < 2
        return found[0] if found else None

    def wait(self, what: str, is_so: Callable[[], object]) -> None:
        wait_until(what, lambda: bool(is_so()), WITHIN_S, lambda: str(self.client.list("ports")))

    def status(self, port: Row) -> tuple[str, str]:
        found = self.client.request("GET", f"/portico/v1/ports/{port['id']}/status?timeout_s=0")
        return found["status"], found["reason"]

    def says(self, port: Row, status: str, words: str = "") -> bool:
        found = self.status(port)
        return found[0] == status and words in found[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    password = tmp_path_factory.mktemp("secret") / "password"
    password.write_text(ADMIN.password)
    with keystone.running() as identity, neutron.running(identity) as remote:
        remote.add_agent(HOST)
        settings = {
            "backends": "bridge,neutron",
            "neutron.auth_url": identity.url,
            "neutron.username": ADMIN.user,
            "neutron.project_name": ADMIN.project,
            "neutron.password_file": str(password),
            "neutron.poll_s": "1",
        }
        with portico.running(settings) as server, Client(server.local_url) as client:
            yield Site(client, remote)


@pytest.fixture(scope="module")
def network(site: Site) -> Row:
    """A network with an IPv4 and a SLAAC subnet."""
    made = site.create("networks", name="far", **{"portico:backend": "neutron"})
    site.create("subnets", network_id=made["id"], ip_version=4, cidr="192.0.2.0/24", dns_nameservers=["192.0.2.53"])
    modes = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
    site.create("subnets", network_id=made["id"], ip_version=6, cidr="2001:db8::/64", **modes)
    return made


def test_a_network_and_its_subnets_are_made_there(site: Site, network: Row) -> None:
    site.wait("a network", lambda: site.theirs("networks", network["id"]))
    there = site.theirs("networks", network["id"])
    assert there is not None
    assert (there["name"], there["mtu"], there["tags"]) == ("far", network["mtu"], [f"portico:{network['id']}"])
    site.wait("two subnets", lambda: len(site.remote.ask("GET", f"subnets?network_id={there['id']}")["subnets"]) == 2)
    for mine in site.client.list("subnets", network_id=network["id"]):
        subnet = site.theirs("subnets", mine["id"])
        assert subnet is not None
        for name in ("cidr", "gateway_ip", "allocation_pools", "dns_nameservers", "ipv6_ra_mode", "enable_dhcp"):
            assert subnet[name] == mine[name], name
    site.wait("no trouble", lambda: site.get("networks", network["id"])["status"] == "ACTIVE")


def test_a_port_is_bound_there_and_active_when_both_say_so(site: Site, network: Row) -> None:
    group = site.create("security_groups", name="web")
    site.create(
        "security_group_rules", security_group_id=group["id"], direction="ingress", ethertype="IPv4",
        protocol="tcp", port_range_min=80, port_range_max=80, remote_group_id=group["id"],
    )  # fmt: skip
    port = site.create(
        "ports", network_id=network["id"], security_groups=[group["id"]], name="web",
        allowed_address_pairs=[{"ip_address": "192.0.2.200"}], **{"binding:host_id": HOST},
    )  # fmt: skip
    assert port["binding:vif_type"] == "unbound"
    site.wait("a binding", lambda: site.get("ports", port["id"])["binding:vif_type"] == "ovs")
    there = site.theirs("ports", port["id"])
    assert there is not None
    assert there["mac_address"] == port["mac_address"]
    addresses = [{item["ip_address"] for item in row["fixed_ips"]} for row in (there, port)]
    assert addresses[0] == addresses[1] and len(addresses[0]) == 2
    details = site.get("ports", port["id"])["binding:vif_details"]
    assert details["tap_name"] == f"tap{there['id'][:11]}"
    assert site.says(port, "DOWN", f"port {there['id']} of the remote is DOWN")
    site.remote.set_status(there["id"], "ACTIVE")
    site.wait("the host's turn", lambda: site.says(port, "DOWN", f"host {HOST} has not plugged it yet"))
    report = Report(0, (Status(f"outlet/{port['id']}", "active"),))
    site.client.request("PUT", f"/portico/v1/hosts/{HOST}/status", report)
    site.wait("the port", lambda: site.says(port, "ACTIVE"))
    [group_id] = there["security_groups"]
    mirrored = site.remote.ask("GET", f"security-groups/{group_id}")["security_group"]["security_group_rules"]
    named = [rule for rule in mirrored if rule["remote_group_id"] == group_id]
    assert [(rule["direction"], rule["port_range_min"], rule["port_range_max"]) for rule in named] == [
        ("ingress", 80, 80)
    ]
    assert len(mirrored) == len(site.get("security_groups", group["id"])["security_group_rules"]) == 3


def test_changes_go_there_and_a_quiet_remote_is_left_alone(site: Site, network: Row) -> None:
    port = site.create("ports", network_id=network["id"], name="before")
    site.wait("a port", lambda: site.theirs("ports", port["id"]))
    site.client.update("ports", port["id"], {"name": "after", "admin_state_up": False, "port_security_enabled": False,
                                             "security_groups": []})  # fmt: skip
    site.wait("its new name", lambda: (site.theirs("ports", port["id"]) or {})["name"] == "after")
    there = site.theirs("ports", port["id"])
    assert there is not None
    assert (there["admin_state_up"], there["port_security_enabled"], there["security_groups"]) == (False, False, [])
    other = site.create("ports", network_id=network["id"])
    site.wait("another port", lambda: site.theirs("ports", other["id"]))
    site.client.update("networks", network["id"], {"name": "far away"})
    site.wait("two more looks", lambda: (site.theirs("networks", network["id"]) or {})["name"] == "far away")
    assert (site.theirs("ports", port["id"]) or {})["revision_number"] == there["revision_number"]


def test_what_is_changed_or_deleted_there_is_put_back(site: Site, network: Row) -> None:
    port = site.create("ports", network_id=network["id"], name="mine")
    site.wait("a port", lambda: (site.theirs("ports", port["id"]) or {}).get("tags"))
    there = site.theirs("ports", port["id"])
    assert there is not None
    site.remote.ask("PUT", f"ports/{there['id']}", {"port": {"name": "theirs", "security_groups": []}})
    site.wait("its name again", lambda: (site.theirs("ports", port["id"]) or {})["name"] == "mine")
    assert (site.theirs("ports", port["id"]) or {})["security_groups"] == there["security_groups"]
    site.remote.ask("DELETE", f"ports/{there['id']}")
    site.wait("it again", lambda: site.theirs("ports", port["id"]))
    again = site.theirs("ports", port["id"])
    assert again is not None
    assert again["id"] != there["id"] and again["mac_address"] == port["mac_address"]


def test_a_quota_that_is_used_up_is_the_reason(site: Site, network: Row) -> None:
    project = (site.theirs("networks", network["id"]) or {})["project_id"]
    used = len(site.remote.ask("GET", f"ports?project_id={project}")["ports"])
    site.remote.ask("PUT", f"quotas/{project}", {"quota": {"port": used}})
    port = site.create("ports", network_id=network["id"])
    site.wait("the remote's words", lambda: site.says(port, "ERROR", "Quota exceeded for resources: ['port']"))
    site.remote.ask("PUT", f"quotas/{project}", {"quota": {"port": -1}})
    site.wait("the port", lambda: site.says(port, "DOWN", "bound to no host"))


def test_a_host_that_the_remote_does_not_know_fails_the_binding(site: Site, network: Row) -> None:
    port = site.create("ports", network_id=network["id"])
    site.client.update("ports", port["id"], {"binding:host_id": EMPTY})
    site.wait("why", lambda: site.says(port, "ERROR", f"to host {EMPTY}: binding failed"))
    assert site.get("ports", port["id"])["binding:vif_type"] == "binding_failed"
    site.client.update("ports", port["id"], {"binding:host_id": HOST})
    site.wait("a binding", lambda: site.get("ports", port["id"])["binding:vif_type"] == "ovs")


def test_what_is_deleted_here_goes_there_and_nothing_else(site: Site, network: Row, tmp_path: Path) -> None:
    foreign = site.remote.ask("POST", "networks", {"network": {"name": "foreign", "description": "portico's? no"}})
    for port in site.client.list("ports", network_id=network["id"]):
        site.client.delete("ports", port["id"])
    site.client.delete("networks", network["id"])
    site.wait("an empty remote", lambda: site.theirs("networks", network["id"]) is None)
    left = [row["name"] for row in site.remote.ask("GET", "networks")["networks"]]
    assert left == [foreign["network"]["name"]]
