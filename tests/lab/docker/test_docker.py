# SPDX-License-Identifier: Apache-2.0
"""What people do with Docker, on a real engine with Portico's drivers."""

from __future__ import annotations

import pytest

from portico.errors import PreconditionFailed
from portico.testing.docker_site import DockerSite
from portico.testing.lab import IMAGE, wait_until

pytestmark = pytest.mark.lab


def test_dual_stack_containers_reach_each_other_by_address_and_by_name(site: DockerSite) -> None:
    site.create("blue", "--subnet", "10.1.0.0/24", "--ipv6", "--subnet", "2001:db8:1::/64")
    site.run("web", "blue", "--network-alias", "www", "--ip", "10.1.0.9", "--ip6", "2001:db8:1::9")
    # This command line takes --mac-address for API 1.44 only; the engine has had it for ever.
    body = {
        "Image": IMAGE,
        "Cmd": ["sleep", "600"],
        "MacAddress": "02:00:00:00:00:42",
        "HostConfig": {"NetworkMode": "blue", "Init": True},
    }
    site.ask_engine("POST", "/v1.41/containers/create?name=cli", body)
    site.docker("start", "cli")
    for target in ("10.1.0.9", "2001:db8:1::9", "web", "www"):
        assert site.reaches("cli", target), target
    assert site.port_of("cli", "blue")["mac_address"] == "02:00:00:00:00:42"
    assert "02:00:00:00:00:42" in site.execute("cli", "ip", "link", "show", "eth0").out
    # its very first packet: there is no duplicate address detection to wait for
    site.docker("run", "--rm", "--network", "blue", IMAGE, "ping", "-c", "1", "-W", "10", "2001:db8:1::9")
    port = site.port_of("web", "blue")
    assert {item["ip_address"] for item in port["fixed_ips"]} == {"10.1.0.9", "2001:db8:1::9"}
    assert port["status"] == "ACTIVE"


def test_the_host_name_need_not_be_porticos_name_of_the_host(site: DockerSite) -> None:
    assert site.host.run(["hostname"]).out.strip() != "not-the-host-name"
    site.create("blue", "--subnet", "10.1.0.0/24")
    site.run("web", "blue")
    port = site.port_of("web", "blue")
    assert (port["binding:host_id"], port["status"]) == ("not-the-host-name", "ACTIVE")


def test_networks_with_one_subnet_that_are_created_at_once_do_not_mix(site: DockerSite) -> None:
    create = "docker network create -d portico --ipam-driver portico --subnet 10.1.0.0/24"
    site.host.run(["sh", "-c", f"for i in 1 2 3 4; do {create} net$i & done; wait"])
    for number in range(1, 5):
        site.run(f"web{number}", f"net{number}", "--ip", "10.1.0.5")
    ids = {site.port_of(f"web{number}", f"net{number}")["network_id"] for number in range(1, 5)}
    assert len(ids) == 4


def test_a_network_ends_at_itself_and_has_one_interface(site: DockerSite) -> None:
    site.create("blue", "--internal", "--subnet", "10.1.0.0/24")
    site.create("open", "--subnet", "10.2.0.0/24")
    for network in ("blue", "open"):
        out = site.docker("run", "--rm", "-p", "80", "--network", network, IMAGE, "ip", "route").out
        assert "default" not in out
        links = site.docker("run", "--rm", "--network", network, IMAGE, "ip", "-o", "link").out
        assert [line.split(":")[1].split("@")[0].strip() for line in links.splitlines()] == ["lo", "eth0"]


def test_gateway_range_and_auxiliary_addresses_are_as_asked(site: DockerSite) -> None:
    options = ["--subnet", "10.1.0.0/24", "--ip-range", "10.1.0.64/30", "--gateway", "10.1.0.65"]
    network = site.create("blue", *options, "--aux-address", "printer=10.1.0.66")
    [subnet] = site.api.list("subnets")
    assert subnet["gateway_ip"] == "10.1.0.65" and subnet["cidr"] == "10.1.0.0/24"
    for name in ("one", "two"):
        site.run(name, "blue")
    found = {site.network_settings(name, "blue")["IPAddress"] for name in ("one", "two")}
    assert found == {"10.1.0.64", "10.1.0.67"}
    refused = site.docker("run", "--rm", "--network", "blue", IMAGE, "true", check=False)
    assert "No more IP addresses available" in refused.err
    [anchor] = site.api.list("ports", device_id=network)
    assert [item["ip_address"] for item in anchor["fixed_ips"]] == ["10.1.0.66"]


def test_networks_without_subnet_get_prefixes_of_their_own(site: DockerSite) -> None:
    for name in ("one", "two"):
        site.create(name)
    cidrs = {subnet["cidr"] for subnet in site.api.list("subnets")}
    assert len(cidrs) == 2 and all(cidr.startswith("10.192.") for cidr in cidrs)
    site.docker("run", "--rm", "--network", "one", IMAGE, "true")


def test_a_prefix_is_found_beside_what_the_host_has_routes_to(site: DockerSite) -> None:
    """An engine that refuses them would ask for 8,192, one after the other, for minutes."""
    route = ("unreachable", "10.192.0.0/11")
    site.host.run(["ip", "route", "add", *route])
    try:
        site.create("any", "--internal")
    finally:
        site.host.run(["ip", "route", "del", *route])
    assert "10.224.0.0/24" in site.docker("network", "inspect", "any").out


def test_two_networks_with_one_subnet_are_side_by_side_and_apart(site: DockerSite) -> None:
    for name in ("red", "blue"):
        site.create(name, "--subnet", "10.1.0.0/24")
        site.run(f"{name}-server", name, "--ip", "10.1.0.5", command=("nc", "-ll", "-p", "7", "-e", "echo", name))
        site.run(f"{name}-client", name)
    site.run("only-red", "red", "--ip", "10.1.0.77")
    for name in ("red", "blue"):
        assert site.execute(f"{name}-client", "nc", "-w", "2", "10.1.0.5", "7").out == f"{name}\n"
    assert site.reaches("red-client", "10.1.0.77")
    assert site.misses("blue-client", "10.1.0.77")


def test_a_failed_create_leaves_a_network_with_the_same_subnet_alone(site: DockerSite) -> None:
    site.create("blue", "--subnet", "10.1.0.0/24")
    site.run("web", "blue", "--ip", "10.1.0.5")
    words = ["network", "create", "-d", "portico", "--ipam-driver", "portico", "--subnet", "10.1.0.0/24"]
    failed = site.docker(*words, "-o", "portico.securty-groups=x", "other", check=False)
    assert "portico.securty-groups does not exist; did you mean portico.security-groups?" in failed.err
    failed = site.docker(*words, "-o", "portico.network=nowhere", "other", check=False)
    assert "There is no network with the id or name 'nowhere'" in failed.err
    site.run("cli", "blue")
    assert site.reaches("cli", "10.1.0.5")


def test_a_running_container_is_connected_and_disconnected(site: DockerSite) -> None:
    for number, name in enumerate(("blue", "red"), 1):
        site.create(name, "--subnet", f"10.{number}.0.0/24")
    site.run("web", "red", "--ip", "10.2.0.5")
    site.run("cli", "blue")
    site.docker("network", "connect", "--alias", "me", "--ip", "10.2.0.9", "red", "cli")
    assert site.reaches("cli", "10.2.0.5") and site.reaches("web", "me")
    site.docker("network", "disconnect", "red", "cli")
    assert site.misses("web", "10.2.0.9")
    assert "eth1" not in site.execute("cli", "ip", "link").out
    site.docker("network", "connect", "--ip", "10.2.0.9", "red", "cli")
    assert site.reaches("web", "10.2.0.9")


def test_a_container_that_starts_again_is_reached_again(site: DockerSite) -> None:
    site.create("blue", "--subnet", "10.1.0.0/24")
    site.run("web", "blue", "--ip", "10.1.0.5")
    site.run("cli", "blue")
    before = site.port_of("web", "blue")["device_id"]
    site.docker("restart", "--time", "0", "web")
    assert site.port_of("web", "blue")["device_id"] != before
    assert site.reaches("cli", "10.1.0.5")


def test_an_existing_network_is_used_by_name_and_by_ipam_option(site: DockerSite) -> None:
    there = site.api.create("networks", {"name": "there", "mtu": 1400})
    try:
        body = {"network_id": there["id"], "ip_version": 4, "cidr": "10.5.0.0/24", "gateway_ip": "10.5.0.254"}
        site.api.create("subnets", body)
        site.create("one", "--subnet", "10.5.0.0/24", "--gateway", "10.5.0.254", "-o", "portico.network=there")
        site.create("two", "--ipam-opt", f"portico.network={there['id']}")
        site.run("web", "one", "--ip", "10.5.0.5")
        site.run("cli", "two")
        assert site.reaches("cli", "10.5.0.5")
        assert "mtu 1400" in site.execute("cli", "ip", "link", "show", "eth0").out
        site.clear()
        assert [item["id"] for item in site.api.list("networks")] == [there["id"]]
        assert site.api.list("ports") == []
    finally:
        site.clear()
        site.api.delete("networks", there["id"])


def test_an_adopted_port_gives_its_mac_and_address_and_is_given_back(site: DockerSite) -> None:
    there = site.api.create("networks", {"name": "there"})
    try:
        site.api.create("subnets", {"network_id": there["id"], "ip_version": 4, "cidr": "10.5.0.0/24"})
        fixed = {"network_id": there["id"], "name": "mine", "fixed_ips": [{"ip_address": "10.5.0.50"}]}
        mine = site.api.create("ports", fixed)
        site.create("blue", "--subnet", "10.5.0.0/24", "-o", "portico.network=there")
        site.run("cli", "blue")
        words = ["network", "connect", "--ip", "10.5.0.50", "--driver-opt", "portico.port=mine", "blue", "web"]
        site.docker("run", "--detach", "--init", "--name", "web", "--network", "none", IMAGE, "sleep", "600")
        site.docker("network", "disconnect", "none", "web")
        site.docker(*words)
        assert mine["mac_address"] in site.execute("web", "ip", "link", "show", "eth0").out
        assert site.reaches("cli", "10.5.0.50")
        with pytest.raises(PreconditionFailed, match="current revision is"):
            site.api.update("ports", mine["id"], {"device_id": "of another host"}, mine["revision_number"])
        with pytest.raises(PreconditionFailed, match="current revision is"):
            site.api.delete("ports", mine["id"], mine["revision_number"])
        site.docker("rm", "-f", "web")
        [after] = site.api.list("ports", id=mine["id"])
        assert (after["binding:host_id"], after["device_id"], after["device_owner"]) == ("", "", "")
        assert after["mac_address"] == mine["mac_address"]
    finally:
        site.clear()
        site.api.delete("ports", mine["id"])
        site.api.delete("networks", there["id"])


def test_expose_opens_exactly_the_exposed_ports(site: DockerSite) -> None:
    closed = site.api.create("security_groups", {"name": "closed"})
    try:
        site.create(
            "blue", "--subnet", "10.1.0.0/24", "-o", "portico.security-groups=closed", "-o", "portico.expose=true"
        )
        serve = ("sh", "-c", "nc -ll -p 80 -e true & nc -ll -p 81 -e true & wait")
        site.run("web", "blue", "--expose", "80", "--ip", "10.1.0.5", command=serve)
        site.run("cli", "blue")
        wait_until("an open port 80", lambda: site.serves("cli", "10.1.0.5", 80), 20)
        assert not site.serves("cli", "10.1.0.5", 81)
        assert site.execute("web", "nc", "-w", "2", "127.0.0.1", "81", "-e", "true", check=False).ok
    finally:
        site.clear()
        site.api.delete("security_groups", closed["id"])


def test_p_publishes_nothing_on_the_host_and_opens_the_inner_port_where_that_is_asked_for(site: DockerSite) -> None:
    closed = site.api.create("security_groups", {"name": "closed"})
    try:
        site.create("blue", "--subnet", "10.1.0.0/24", "-o", "portico.security-groups=closed")
        site.create(
            "open", "--subnet", "10.2.0.0/24", "-o", "portico.security-groups=closed", "-o", "portico.expose=true"
        )
        serve = ("nc", "-ll", "-p", "80", "-e", "true")
        for number, name in enumerate(("blue", "open"), 1):
            address = f"10.{number}.0.5"
            site.run(f"{name}-web", name, "-p", f"808{number}:80", "--ip", address, command=serve)
            site.run(f"{name}-cli", name)
            assert site.docker("port", f"{name}-web").out == ""
            assert f":808{number} " not in site.host.run(["ss", "--listening", "--tcp", "--numeric"]).out
        wait_until("an open port 80", lambda: site.serves("open-cli", "10.2.0.5", 80), 20)
        assert not site.serves("blue-cli", "10.1.0.5", 80)
    finally:
        site.clear()
        site.api.delete("security_groups", closed["id"])


def test_two_subnets_of_one_ip_version_are_on_one_network(site: DockerSite) -> None:
    """The second is for those that ask for an address of it; without routers neither knows a way to the other."""
    site.create("blue", "--subnet", "10.1.0.0/24", "--subnet", "10.2.0.0/24", "--ipv6", "--subnet", "2001:db8:1::/64")
    site.run("first", "blue")
    for number in (5, 6):
        site.run(f"second-{number}", "blue", "--ip", f"10.2.0.{number}")
    assert site.network_settings("first", "blue")["IPAddress"].startswith("10.1.0.")
    assert site.reaches("second-5", "10.2.0.6") and site.misses("first", "10.2.0.6")
    assert site.reaches("first", site.network_settings("second-6", "blue")["GlobalIPv6Address"])
    assert len(site.port_of("second-6", "blue")["fixed_ips"]) == 2


def test_the_mtu_option_is_on_the_link(site: DockerSite) -> None:
    site.create("blue", "--subnet", "10.1.0.0/24", "-o", "com.docker.network.driver.mtu=1342")
    assert "mtu 1342" in site.docker("run", "--rm", "--network", "blue", IMAGE, "ip", "link", "show", "eth0").out


def test_portico_shows_dockers_names(site: DockerSite) -> None:
    site.create("blue", "--subnet", "10.1.0.0/24")
    wait_until("the name blue", lambda: [n["name"] for n in site.api.list("networks")] == ["blue"], 20)


def test_what_compose_does_works(site: DockerSite) -> None:
    """The calls of `docker compose up` and `down`: labels, aliases, create and start apart, two networks at once."""
    labels = ["--label", "com.docker.compose.project=shop"]
    site.create("shop_front", *labels, "--label", "com.docker.compose.network=front")
    site.create("shop_back", *labels, "--internal")
    for service, networks in (("db", ["shop_back"]), ("web", ["shop_front", "shop_back"])):
        options = ["--name", f"shop-{service}-1", "--network", networks[0], "--network-alias", service]
        site.docker("create", "--init", *options, *labels, IMAGE, "sleep", "600")
        for network in networks[1:]:
            site.docker("network", "connect", "--alias", service, network, f"shop-{service}-1")
        site.docker("start", f"shop-{service}-1")
    assert site.reaches("shop-web-1", "db") and site.reaches("shop-db-1", "web")
    site.docker("rm", "-f", "shop-db-1", "shop-web-1")
    site.docker("network", "rm", "shop_front", "shop_back")


def test_sixteen_containers_at_once_all_get_addresses(site: DockerSite) -> None:
    site.create("blue", "--subnet", "10.1.0.0/24")
    loop = f"for i in $(seq 16); do docker run -d --init --network blue {IMAGE} sleep 600 & done; wait"
    site.host.run(["sh", "-c", loop], timeout_s=60)
    ports = site.api.list("ports", device_owner="docker:endpoint")
    assert len({item["ip_address"] for port in ports for item in port["fixed_ips"]}) == len(ports) == 16
    assert len(site.docker("ps", "-q").out.split()) == 16


def test_dual_stack_containers_at_once_get_both_addresses_and_work(site: DockerSite) -> None:
    site.create("blue", "--subnet", "10.1.0.0/24", "--ipv6", "--subnet", "2001:db8:1::/64")
    loop = f"for i in $(seq 8); do docker run -d --init --name c$i --network blue {IMAGE} sleep 600 & done; wait"
    site.host.run(["sh", "-c", loop], timeout_s=60)
    for number in range(1, 9):
        found = site.network_settings(f"c{number}", "blue")
        port = site.port_of(f"c{number}", "blue")
        given = {found["IPAddress"], found["GlobalIPv6Address"]}
        assert {item["ip_address"] for item in port["fixed_ips"]} == given
        assert all(site.reaches("c1", address) for address in given), number
    assert len(site.api.list("ports", device_owner=["docker:endpoint", "docker:reserved"])) == 8


def test_a_network_with_other_peoples_ports_outlives_dockers(site: DockerSite) -> None:
    """The engine removes its network whatever a driver says (20.10 logs the error), so Portico's has to wait."""
    site.create("blue", "--subnet", "10.1.0.0/24")
    port = site.api.create("ports", {"network_id": site.api.list("networks")[0]["id"], "name": "vm"})
    site.docker("network", "rm", "blue")
    assert [item["id"] for item in site.api.list("ports", name="vm")] == [port["id"]]
    site.api.delete("ports", port["id"])
    site.sweep()
