# SPDX-License-Identifier: Apache-2.0
"""Ports without addresses, and ports on networks of several kinds in one container or virtual machine, by packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from portico.testing.docker_site import DockerSite
from portico.testing.lab import Lab, Result, VirtualMachine, wait_until
from portico.testing.lab.lab import UNDERLAY_V4, UNDERLAY_V6

pytestmark = pytest.mark.lab

HOST = "not-the-host-name"
OUTSIDE = (str(UNDERLAY_V4[2]), str(UNDERLAY_V6[2]))  # another host, beyond every network of Portico
# Answers with the address that it was asked from.
SERVE = (
    "mkdir -p /tmp/www/cgi-bin && printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' > /tmp/www/cgi-bin/who && "
    "chmod +x /tmp/www/cgi-bin/who && exec busybox httpd -f -p 80 -h /tmp/www"
)
NULL = ("network", "create", "-d", "portico", "--ipam-driver", "null")
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def module_site() -> Iterator[DockerSite]:
    with Lab() as lab:
        host, outside = (lab.host(name, underlay=True) for name in ("one", "outside"))
        # Who switches it on first decides what Docker's firewall lets be forwarded.
        host.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
        outside.run(["ip", "route", "add", "10.1.0.0/24", "via", str(UNDERLAY_V4[1])])
        outside.run(["ip", "route", "add", "2001:db8:1::/64", "via", str(UNDERLAY_V6[1])])
        outside.spawn(["sh", "-c", SERVE])
        with DockerSite(host, environment={"PORTICO_HOST": HOST, "PORTICO_DOCKER_GATEWAYS": "false"}) as site:
            yield site


def source(run: Run, address: str) -> str:
    """Return the address that a server saw a workload's request come from; empty if there was no answer."""
    host = f"[{address}]" if ":" in address else address
    result = run("timeout", "3", "wget", "-q", "-O", "-", f"http://{host}/cgi-bin/who", check=False)
    return _plain(result.out) if result.ok else ""


def wait_for_source(run: Run, address: str, wanted: str) -> None:
    """Wait until a server, which may just have been started, sees a workload's request come from an address."""
    wait_until(f"an answer of {address} to {wanted}", lambda: source(run, address) == wanted, 20)


def _plain(text: str) -> str:
    return text.strip().strip("[]").removeprefix("::ffff:")


def way(run: Run, links: dict[str, str], address: str) -> tuple[str, str]:
    """Ask a server a few times; return by which link (by the names given here) the packets went, and their source."""
    counters = " ".join(f"/sys/class/net/{link}/statistics/tx_bytes" for link in links.values())
    host = f"[{address}]" if ":" in address else address
    ask = f"timeout 3 wget -q -O - http://{host}/cgi-bin/who"
    script = f"cat {counters}; {ask}; for i in 1 2 3 4; do {ask} > /dev/null; done; cat {counters}"
    lines = run("sh", "-c", script, check=False).out.split()
    before, after = (map(int, part) for part in (lines[: len(links)], lines[-len(links) :]))
    sent = {name: last - first for name, first, last in zip(links, before, after, strict=True)}
    return max(links, key=lambda name: sent[name]), _plain(" ".join(lines[len(links) : -len(links)]))


def test_a_container_without_addresses_has_a_link_and_gives_itself_what_it_likes(site: DockerSite) -> None:
    site.docker(*NULL, "raw")
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
    assert site.misses("one", "192.0.2.2")
    site.execute("one", "ip", "link", "set", "eth0", "address", mac)
    assert site.reaches("one", "192.0.2.2")


def test_an_existing_port_gives_its_addresses_where_docker_asks_for_none(site: DockerSite) -> None:
    network = site.api.create("networks", {"name": "green"})
    for cidr in ("10.3.0.0/24", "2001:db8:3::/64"):
        body = {"network_id": network["id"], "cidr": cidr, "ip_version": 6 if ":" in cidr else 4}
        site.api.create("subnets", body)
    for name in ("mine", "other"):
        site.api.create("ports", {"network_id": network["id"], "name": name})
    site.docker(*NULL, "-o", "portico.network=green", "green")
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


def test_a_network_that_carries_no_default_route_is_reached_without_one(site: DockerSite) -> None:
    site.create("routed", "--subnet", "10.1.0.0/24", "-o", "portico.backend=routed", "-o", "portico.gateway=false")
    for number in (8, 9):
        site.run(f"on-{number}", "routed", "--ip", f"10.1.0.{number}", command=("sh", "-c", SERVE))
    run = partial(site.execute, "on-8")
    assert source(run, "10.1.0.9") == "10.1.0.8"
    assert source(run, OUTSIDE[0]) == "" and "default" not in run("ip", "route").out


@pytest.fixture(scope="module")
def kinds(module_site: DockerSite) -> Iterator[DockerSite]:
    """A network of each kind, and a server on each; `far` is another one without addresses."""
    site = module_site
    dual = ("--ipv6", "--subnet", "10.1.0.0/24", "--subnet", "2001:db8:1::/64")
    site.create("routed", *dual, "-o", "portico.backend=routed")
    site.create("blue", "--subnet", "10.2.0.0/24")
    for name in ("raw", "far"):
        site.docker(*NULL, name)
    site.run("on-routed", "routed", "--ip", "10.1.0.9", "--ip6", "2001:db8:1::9", command=("sh", "-c", SERVE))
    site.run("on-blue", "blue", "--ip", "10.2.0.9", command=("sh", "-c", SERVE))
    for number, name in enumerate(("raw", "far"), 9):
        site.run(f"on-{name}", name, "--cap-add", "NET_ADMIN", command=("sh", "-c", SERVE))
        site.execute(f"on-{name}", "ip", "address", "add", f"192.0.2.{number}/24", "dev", "eth0")
    yield site
    site.clear()
    site.wait_until_clean()


def check_every_way(run: Run, own: dict[str, tuple[str, ...]], links: dict[str, str]) -> None:
    """Check that each network is reached by its own link and from its own address, and so is what is beyond."""
    four, six = own["routed"]
    for address, mine, link in (
        ("10.1.0.9", four, "routed"),
        ("2001:db8:1::9", six, "routed"),
        ("10.2.0.9", own["blue"][0], "blue"),
        ("192.0.2.9", own["raw"][0], "raw"),
        (OUTSIDE[0], four, "routed"),
        (OUTSIDE[1], six, "routed"),
    ):
        assert way(run, links, address) == (link, mine), address


def test_a_container_on_an_l2_a_routed_and_an_unaddressed_network(kinds: DockerSite) -> None:
    site = kinds
    site.run("all", "blue", "--cap-add", "NET_ADMIN", "--ip", "10.2.0.20", command=("sh", "-c", SERVE))
    site.docker("network", "connect", "--ip", "10.1.0.20", "--ip6", "2001:db8:1::20", "routed", "all")
    site.docker("network", "connect", "raw", "all")
    site.execute("all", "ip", "address", "add", "192.0.2.20/24", "dev", "eth2")
    run = partial(site.execute, "all")
    own = {"blue": ("10.2.0.20",), "routed": ("10.1.0.20", "2001:db8:1::20"), "raw": ("192.0.2.20",)}
    links = {"blue": "eth0", "routed": "eth1", "raw": "eth2"}
    check_every_way(run, own, links)
    for name, addresses in own.items():
        # Answered by the link that it came by: the asking link is no other network's.
        assert all(source(partial(site.execute, f"on-{name}"), address) for address in addresses), name
    site.docker("network", "disconnect", "routed", "all")
    assert source(run, "10.2.0.9") == "10.2.0.20" and source(run, "192.0.2.9") == "192.0.2.20"
    assert "default" not in run("ip", "route").out and not source(run, OUTSIDE[0])
    site.docker("network", "connect", "--ip", "10.1.0.20", "--ip6", "2001:db8:1::20", "routed", "all")
    [link] = {*run("ls", "/sys/class/net").out.split()} - {"lo", "eth0", "eth2"}
    check_every_way(run, own, {**links, "routed": link})


def test_a_container_on_two_routed_networks(kinds: DockerSite) -> None:
    """Each by its own link and from its own address, and so are answers: the host answers for two next hops."""
    site, server = kinds, ("sh", "-c", SERVE)
    site.create(
        "fast", "--ipv6", "--subnet", "10.4.0.0/24", "--subnet", "2001:db8:4::/64", "-o", "portico.backend=routed"
    )
    site.run("on-fast", "fast", "--ip", "10.4.0.9", "--ip6", "2001:db8:4::9", command=server)
    site.run("both", "routed", "--ip", "10.1.0.21", "--ip6", "2001:db8:1::21", command=server)
    site.docker("network", "connect", "--ip", "10.4.0.21", "--ip6", "2001:db8:4::21", "fast", "both")
    both = partial(site.execute, "both")
    for name, nets in {"routed": ("10.1.0.", "2001:db8:1::"), "fast": ("10.4.0.", "2001:db8:4::")}.items():
        for net in nets:
            wait_for_source(both, f"{net}9", f"{net}21")
            wait_for_source(partial(site.execute, f"on-{name}"), f"{net}21", f"{net}9")


def plug(site: DockerSite, network: str, groups: list[str]) -> dict[str, Any]:
    """Make a port with a tap on the host."""
    [found] = site.api.list("networks", name=network)
    profile = {"tap_name": f"tap-{network}", "make_tap": True}
    body = {"network_id": found["id"], "binding:host_id": HOST, "binding:profile": profile}
    return site.api.create("ports", {**body, "security_groups": groups})


def test_a_virtual_machine_on_an_l2_a_routed_and_unaddressed_networks(kinds: DockerSite) -> None:
    site, names = kinds, ("blue", "raw", "far", "routed")
    wait_until("names of networks", lambda: len(site.api.list("networks", name=[*names])) == len(names), 20)
    anything = site.api.create("security_groups", {"name": "anything"})["id"]
    for version in ("IPv4", "IPv6"):
        rule = {"security_group_id": anything, "direction": "ingress", "ethertype": version}
        site.api.create("security_group_rules", rule)
    [default] = site.api.list("security_groups", name="default")
    ports = [plug(site, name, [anything, default["id"]]) for name in names]
    (tap, mac), *more = ((port["binding:vif_details"]["tap_name"], port["mac_address"]) for port in ports)
    with VirtualMachine(site.host, "guest", tap=tap, mac=mac, more=more, modules=["bridge"]) as guest:
        try:
            _try_every_way(site, guest, ports)
            _try_a_bridge(site, guest, ports)
        finally:
            for port in ports:
                site.api.delete("ports", port["id"])
            site.api.delete("security_groups", anything)


def _guest_run(guest: VirtualMachine) -> Run:
    def run(*words: str, check: bool = True) -> Result:
        return guest.run(words, check=check)

    return run


def _try_every_way(site: DockerSite, guest: VirtualMachine, ports: list[dict[str, Any]]) -> None:
    """Number the guest's links as their ports say; the one without addresses numbers itself."""
    blue, _raw, _far, routed = ports
    run = _guest_run(guest)
    four, six = (item["ip_address"] for item in routed["fixed_ips"])
    details = routed["binding:vif_details"]
    for link, addresses in {"eth1": ("192.0.2.30/24",), "eth3": (f"{four}/32", f"{six}/128")}.items():
        run("ip", "link", "set", link, "up")
        for address in addresses:
            run("ip", "address", "add", address, "dev", link)
    run("ip", "route", "add", details["next_hop_v4"], "dev", "eth3")
    run("ip", "route", "add", "default", "via", details["next_hop_v4"], "dev", "eth3")
    run("ip", "-6", "route", "add", "default", "via", details["next_hop_v6"], "dev", "eth3")
    own = {"blue": (guest.wait_for_address(),), "routed": (four, six), "raw": ("192.0.2.30",)}
    wait_until("addresses that are the guest's own", lambda: "tentative" not in run("ip", "-6", "address").out, 20)
    assert own["blue"][0] == blue["fixed_ips"][0]["ip_address"]
    check_every_way(run, own, {"blue": "eth0", "raw": "eth1", "routed": "eth3"})
    for name, addresses in own.items():
        assert all(site.reaches(f"on-{name}", address) for address in addresses), name


def _try_a_bridge(site: DockerSite, guest: VirtualMachine, ports: list[dict[str, Any]]) -> None:
    """Let the guest bridge the two networks without addresses: what is behind it has other MAC addresses."""
    run = _guest_run(guest)
    run("ip", "address", "flush", "dev", "eth1")
    run("brctl", "addbr", "br0")
    for link in ("eth1", "eth2"):
        run("brctl", "addif", "br0", link)
    for link in ("eth2", "br0"):
        run("ip", "link", "set", link, "up")
    assert site.misses("on-raw", "192.0.2.10")
    for port in ports[1:3]:
        site.api.update("ports", port["id"], {"port_security_enabled": False, "security_groups": []})
    wait_until("containers reach each other through the guest", lambda: site.reaches("on-raw", "192.0.2.10"), 20)
    assert site.reaches("on-far", "192.0.2.9")
