# SPDX-License-Identifier: Apache-2.0
"""`portico topology` against a real API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from portico.client import Client

from .conftest import Portico

REASON = "tap tap-x does not exist on this host yet"


@pytest.fixture
def port(portico: Portico, network: str, api_url: str) -> Iterator[str]:
    """The id of a port that waits for its tap, as an agent told."""
    made = portico("port", "create", "web", "--network", network, "--binding-host-id", "h9", "-f", "json").json
    status = {"key": f"vif/{made['id']}", "state": "waiting", "reason": REASON}
    with Client(api_url) as client:
        client.put_json("/portico/v1/hosts/h9/status", {"revision": 1, "statuses": [status]})
    yield made["id"]
    portico("port", "delete", made["id"])


def test_the_tree_says_why_a_port_is_not_active(portico: Portico, network: str, port: str) -> None:
    shown = portico("topology", network)
    assert shown.code == 0 and REASON in shown.out
    at = next(number for number, line in enumerate(shown.out.splitlines()) if "port web  DOWN" in line)
    assert shown.out.splitlines()[at + 1].endswith(REASON)


def test_the_tree_says_why_a_network_is_not_active(portico: Portico, network: str, api_url: str) -> None:
    network_id = portico("network", "show", network, "-f", "json").json["id"]
    with Client(api_url) as client:
        for state, reason in (("error", "link add: no such device"), ("active", "")):
            status = {"key": f"bridge/{network_id}", "state": state, "reason": reason}
            client.put_json("/portico/v1/hosts/h9/status", {"revision": 1, "statuses": [status]})
            lines = portico("topology", network).out.splitlines()
            assert ("host h9: link add: no such device" in lines[1]) == (state == "error"), lines


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_documents_hold_networks_with_their_subnets_and_ports(
    portico: Portico, network: str, port: str, form: str, read: Callable[[str], Any]
) -> None:
    (found,) = read(portico("topology", network, "-f", form).out)
    assert found["name"] == network
    assert [subnet["name"] for subnet in found["subnets"]] == [f"{network}4"]
    (shown,) = [item for item in found["ports"] if item["id"] == port]
    assert (shown["status"], shown["status_reason"]) == ("DOWN", REASON)


@pytest.mark.parametrize("option", ["--ipv6-ra-mode", "--ipv6-address-mode"])
def test_the_tree_tells_how_hosts_get_ipv6_addresses(portico: Portico, network: str, option: str) -> None:
    portico("subnet", "create", "--network", network, "2001:db8::/64", option, "dhcpv6-stateless")
    (line,) = [line for line in portico("topology", network).out.splitlines() if "2001:db8::/64" in line]
    assert line.endswith("  dhcpv6-stateless")


@pytest.mark.parametrize("words", [("nobody",), ("$network", "nobody"), ("nobody", "-f", "json")])
def test_a_network_that_does_not_exist_is_an_error(portico: Portico, network: str, words: tuple[str, ...]) -> None:
    done = portico("topology", *(network if word == "$network" else word for word in words))
    assert (done.code, done.out, done.err) == (1, "", "portico: no network has the name or id 'nobody'\n")


def test_a_port_of_a_router_tells_which(portico: Portico, network: str) -> None:
    portico("subnet", "create", "--name", "inner", "--network", network, "198.51.100.0/24")
    portico("router", "create", "edge")
    portico("router", "add-router-interface", "edge", "--subnet", "inner")
    shown = portico("topology", network).out
    portico("router", "remove-router-interface", "edge", "--subnet", "inner")
    portico("router", "delete", "edge")
    assert "198.51.100.1" in shown and "interface of router edge" in shown
