# SPDX-License-Identifier: Apache-2.0
"""Routed ports on several hosts, from the API to packets: hosts and a router outside learn of them by BGP.

The router outside learns what is behind our own routers, too, which it meets on a segment beside the underlay.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portico.client import Client
from portico.testing.bgp_peers import Frr
from portico.testing.lab import Lab, LabHost, Process, wait_until

pytestmark = pytest.mark.lab

PORTICO = [sys.executable, "-m", "portico.cli"]
FRR = """
router bgp 65001
 bgp router-id 198.51.100.4
 no bgp ebgp-requires-policy
 neighbor 198.51.100.1 remote-as 65000
 neighbor 198.51.100.1 timers connect 1
 neighbor 198.51.100.1 advertisement-interval 0
 neighbor 198.51.100.2 remote-as 65000
 neighbor 198.51.100.2 timers connect 1
 neighbor 198.51.100.2 advertisement-interval 0
 neighbor 198.51.100.3 remote-as 65000
 neighbor 198.51.100.3 timers connect 1
 neighbor 198.51.100.3 advertisement-interval 0
"""
# Waits for a port's link, and takes it over as a virtual machine its memory: with everything in it; tells when.
TAKE_OVER = """
until ip link set {link} netns w 2> /dev/null; do sleep 0.005; done
ip -n w -batch - << END
link set {link} name eth0 up
address add {address}/32 dev eth0
route add 169.254.1.1 dev eth0
route add default via 169.254.1.1
END
date +%s.%N
"""


# The same for a port of a bridge; the router has the network's first address.
JOIN = """
until ip link set {link} netns b 2> /dev/null; do sleep 0.005; done
ip -n b -batch - << END
link set {link} name eth0 up
address add {address}/24 dev eth0
route add default via {gateway}
END
"""


# Counts what it is sent, and says the same to who sent it.
COUNT = """
import socket
listener = socket.create_server(("", 7))
print("listening", flush=True)
there, _ = listener.accept()
count = 0
while data := there.recv(65536):
    count += len(data)
there.sendall(str(count).encode())
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 7), 20) as there:
    there.sendall(bytes(1000000))
    there.shutdown(socket.SHUT_WR)
    print(there.recv(100).decode())
"""


class Cloud:
    """An API, three hosts with agents, a router outside, and one routed network.

    Two of the hosts are on a segment with that router, their physical network "lab".
    """

    def __init__(self, lab: Lab, folder: Path, client: Client) -> None:
        self.hosts = {name: lab.host(name, underlay=True) for name in ("h1", "h2", "h3")}
        self.outside = lab.host("outside", underlay=True)
        self._make_segment()
        socket = f"unix:{folder}/api.sock"
        on_segment = {"PORTICO_AGENT_PHYSICAL_NETWORKS": "lab=seg0"}
        up = [*PORTICO, "up", "--listen", socket, "--api-url", socket, "--docker-enabled", "false"]
        self.hosts["h1"].spawn(up, env=on_segment)
        self.client = client
        wait_until("the API answers", (folder / "api.sock").exists, 30)
        for name in ("h2", "h3"):
            env = on_segment if name == "h2" else {}
            self.hosts[name].spawn([*PORTICO, "agent"], env={"PORTICO_API_URL": socket, **env})
        wait_until("agents", lambda: len(self.client.list("agents")) == 3, 30)
        self.frr = Frr(self.outside, FRR)
        self.network = self.client.create("networks", {"provider:network_type": "routed"})["id"]
        subnet = {"network_id": self.network, "cidr": "10.1.0.0/24", "ip_version": 4, "enable_dhcp": False}
        self.client.create("subnets", subnet)
        peer = self.client.create(
            "bgp-peers", {"name": "router", "peer_ip": "198.51.100.4", "remote_as": 65001, "auth_type": "none"}
        )
        self.speaker = self.client.create(
            "bgp-speakers",
            {
                "name": "fabric",
                "local_as": 65000,
                "ip_version": 4,
                "portico:bfd": True,
                "portico:communities": ["65000:7"],
            },
        )
        self.client.put_json(f"/v2.0/bgp-speakers/{self.speaker['id']}/add_bgp_peer", {"bgp_peer_id": peer["id"]})
        (group,) = {item["id"] for item in self.client.list("security-groups") if item["name"] == "default"}
        rule = {"security_group_id": group, "direction": "ingress", "protocol": "icmp"}
        self.client.create("security-group-rules", rule)
        self._numbers = iter(range(100))

    def _make_segment(self) -> None:
        run = self.outside.run
        run(["ip", "link", "add", "seg", "type", "bridge"])
        run(["ip", "address", "add", "192.0.2.254/24", "dev", "seg"])
        run(["ip", "link", "set", "seg", "up"])
        for name in ("h1", "h2"):
            namespace = os.open(f"/proc/{self.hosts[name].pid}/ns/net", os.O_RDONLY)
            peer = ["peer", "name", "seg0", "netns", f"/proc/self/fd/{namespace}"]
            run(["ip", "link", "add", name, "master", "seg", "type", "veth", *peer], pass_fds=[namespace])
            os.close(namespace)
            run(["ip", "link", "set", name, "up"])
            self.hosts[name].run(["ip", "link", "set", "seg0", "up"])

    def port(self, host: str) -> dict[str, Any]:
        """Make a port that is bound to a host, and a workload on it; it is ACTIVE when this returns."""
        port = self.bare(host)
        wait_until("the port", lambda: self.client.show("ports", port["id"])["status"] == "ACTIVE", 20)
        self.take_over(port, host)
        return port

    def bare(self, host: str) -> dict[str, Any]:
        """Make a port that is bound to a host, without a workload."""
        body = {"network_id": self.network, "binding:host_id": host, "binding:profile": {"plug": "veth"}}
        return dict(self.client.create("ports", body))

    def take_over(self, port: dict[str, Any], host: str, *, wait: bool = True) -> Process:
        """Give a port's link on a host to a workload there; return what does it."""
        script = TAKE_OVER.format(link=port["binding:vif_details"]["link_name"], address=address(port))
        self.hosts[host].run(["ip", "netns", "add", "w"])
        process = self.hosts[host].spawn(["sh", "-c", script], log=f"take-over-{next(self._numbers)}")
        if wait:
            process.wait(20)
        return process


class Site:
    """A network of bridges, and a router that leads to it from the segment: both in one address scope."""

    def __init__(self, client: Client) -> None:
        self._client = client
        scope = client.create("address-scopes", {"name": "everywhere", "ip_version": 4})["id"]
        external = {"router:external": True, "provider:network_type": "flat", "provider:physical_network": "lab"}
        self.outside, _ = self._network(scope, "192.0.2.0/24", {"gateway_ip": "192.0.2.254"}, external)
        self._inside, subnet = self._network(scope, "10.9.0.0/24", {}, {"provider:network_type": "local"})
        made = client.create("routers", {"external_gateway_info": {"network_id": self.outside}})
        self.gateway = made["external_gateway_info"]["external_fixed_ips"][0]["ip_address"]
        client.put_json(f"/v2.0/routers/{made['id']}/add_router_interface", {"subnet_id": subnet})

    def _network(self, scope: str, cidr: str, more: dict[str, object], kind: dict[str, object]) -> tuple[str, str]:
        pool = {"name": "p", "prefixes": [cidr], "default_prefixlen": 24, "address_scope_id": scope}
        network = self._client.create("networks", kind)["id"]
        body = {"network_id": network, "cidr": cidr, "ip_version": 4, "enable_dhcp": False, **more}
        made = self._client.create("subnets", {**body, "subnetpool_id": self._client.create("subnetpools", pool)["id"]})
        return network, made["id"]

    def port(self, host: str) -> dict[str, Any]:
        """Make a port that is bound to a host."""
        body = {"network_id": self._inside, "binding:host_id": host, "binding:profile": {"plug": "veth"}}
        return dict(self._client.create("ports", body))


def address(port: dict[str, Any]) -> str:
    return str(port["fixed_ips"][0]["ip_address"])


def pings(host: LabHost, destination: str, *inside: str) -> bool:
    return host.run([*inside, "ping", "-c", "1", "-W", "0.3", destination], check=False).ok


INSIDE = ("ip", "netns", "exec", "w")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Lab() as lab:
        folder = tmp_path_factory.mktemp("api")
        with Client(f"unix:{folder}/api.sock") as client:
            yield Cloud(lab, folder, client)


def test_workloads_on_two_hosts_and_a_router_outside_reach_each_other_and_a_port_moves(cloud: Cloud) -> None:
    one, two = cloud.port("h1"), cloud.port("h2")
    h1 = cloud.hosts["h1"]
    wait_until("host to host", lambda: pings(h1, address(two), *INSIDE), 15)
    wait_until("from outside", lambda: pings(cloud.outside, address(two)), 15)
    wait_until("from outside, by the other host's session", lambda: pings(cloud.outside, address(one)), 15)
    seen = cloud.frr.show(f"bgp ipv4 unicast {address(two)}")
    (path,) = (item for item in seen["paths"] if "bestpath" in item)
    assert (path["nexthops"][0]["ip"], path["community"]["string"]) == ("198.51.100.2", "65000:7")
    told = cloud.client.get_json(f"/v2.0/bgp-speakers/{cloud.speaker['id']}/get_advertised_routes")
    hops = {item["destination"]: item["next_hop"] for item in told["advertised_routes"]}
    assert hops[seen["prefix"]] == "198.51.100.2" and set(hops.values()) == {"198.51.100.1", "198.51.100.2"}
    # A block of the host's is one route, whatever ports have its addresses.
    assert seen["prefix"].endswith("/26") and set(cloud.frr.show("bgp ipv4 unicast")["routes"]) == set(hops)
    arrival = cloud.take_over(two, "h3", wait=False)
    flow = h1.spawn([*INSIDE, "ping", "-i", "0.01", "-D", address(two)], log="flow")
    flow.wait_for_text("icmp_seq=30", 20)
    cloud.client.update("ports", two["id"], {"binding:host_id": "h3"})
    wait_until("it is there", lambda: cloud.client.show("ports", two["id"])["status"] == "ACTIVE", 20)
    wait_until("its route", lambda: "via 198.51.100.3" in h1.run(["ip", "route", "get", address(two)]).out, 20)
    moved_at = time.time()
    wait_until("answers of it", lambda: answers(flow.output)[-1] > moved_at + 0.3, 20, flow.tail)
    flow.kill()
    arrival.wait(20)
    assert longest_gap(answers(flow.output), float(arrival.output)) < 0.3
    wait_until("from outside again", lambda: pings(cloud.outside, address(two)), 20)


def test_a_floating_ip_is_announced_from_where_its_port_is(cloud: Cloud) -> None:
    client, h1 = cloud.client, cloud.hosts["h1"]
    body = {"provider:network_type": "routed", "router:external": True}
    outside = client.create("networks", body)["id"]
    client.create("subnets", {"network_id": outside, "cidr": "203.0.113.0/24", "ip_version": 4, "enable_dhcp": False})
    router = client.create("routers", {"external_gateway_info": {"network_id": outside}})["id"]
    [subnet] = client.list("subnets", network_id=cloud.network)
    client.put_json(f"/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet["id"]})
    one, two = (cloud.bare(host) for host in ("h1", "h2"))
    floating = client.create("floatingips", {"floating_network_id": outside, "port_id": one["id"]})
    told = floating["floating_ip_address"]

    def via() -> str:
        return cloud.outside.run(["ip", "route", "get", told], check=False).out

    wait_until("its route", lambda: "via 198.51.100.1" in via(), 30, via)
    assert "proto 80" in h1.run(["ip", "route", "show", told]).out
    client.update("floatingips", floating["id"], {"port_id": two["id"]})
    wait_until("it is elsewhere", lambda: "via 198.51.100.2" in via(), 30, via)
    wait_until("other hosts learn it, too", lambda: "via 198.51.100.2" in h1.run(["ip", "route", "get", told]).out, 30)
    advertised = client.get_json(f"/v2.0/bgp-speakers/{cloud.speaker['id']}/get_advertised_routes")["advertised_routes"]
    assert {"destination": f"{told}/32", "next_hop": "198.51.100.2"} in advertised
    client.update("floatingips", floating["id"], {"port_id": None})
    wait_until("it is nowhere", lambda: "via" not in via(), 30, via)


def test_a_router_outside_reaches_what_is_behind_our_routers(cloud: Cloud) -> None:
    client, speaker = cloud.client, f"/v2.0/bgp-speakers/{cloud.speaker['id']}"
    site = Site(client)
    for network in (cloud.network, site.outside):
        client.put_json(f"{speaker}/add_gateway_network", {"network_id": network})
    (group,) = {item["id"] for item in client.list("security-groups") if item["name"] == "default"}
    client.create("security-group-rules", {"security_group_id": group, "direction": "ingress", "protocol": "tcp"})
    one, two = site.port("h1"), site.port("h2")
    for port in (one, two):
        wait_until("the port", lambda it=port: client.show("ports", it["id"])["status"] == "ACTIVE", 20)  # type: ignore[misc]
    for port, host in ((one, "h1"), (two, "h2")):
        script = JOIN.format(link=port["binding:vif_details"]["link_name"], address=address(port), gateway="10.9.0.1")
        cloud.hosts[host].run(["ip", "netns", "add", "b"])
        cloud.hosts[host].spawn(["sh", "-c", script], log=f"join-{host}").wait(20)
    floats = [
        client.create("floatingips", {"floating_network_id": site.outside, "port_id": port["id"]})
        for port in (one, two)
    ]
    told = {f"{item['floating_ip_address']}/32" for item in floats} | {"10.9.0.0/24"}

    def seen() -> dict[str, list[str]]:
        routes = cloud.frr.show("bgp ipv4 unicast")["routes"]
        return {net: [hop["ip"] for path in routes.get(net, ()) for hop in path["nexthops"]] for net in told}

    # All three hosts tell the same.
    wait_until("routes by the gateway", lambda: all(hops == [site.gateway] * 3 for hops in seen().values()), 30)
    advertised = client.get_json(f"{speaker}/get_advertised_routes")["advertised_routes"]
    assert told == {item["destination"] for item in advertised if item["next_hop"] == site.gateway}
    ways = {f"{net.removesuffix('/32')} via {site.gateway} dev seg" for net in told}
    wait_until("its kernel has them", lambda: ways <= kernel_ways(cloud.outside), 30)
    wait_until("an address behind the router", lambda: pings(cloud.outside, address(one)), 30)
    far = str(floats[1]["floating_ip_address"])
    wait_until("a floating IP that another host than the gateway's answers for", lambda: pings(cloud.outside, far), 30)
    # There by way of the gateway, and back without it.
    counting = cloud.hosts["h2"].spawn(["ip", "netns", "exec", "b", sys.executable, "-c", COUNT], log="counting")
    counting.wait_for_text("listening", 20)
    assert cloud.outside.run([sys.executable, "-c", SEND, far]).out == "1000000\n"
    h3 = cloud.hosts["h3"]
    assert "10.9.0.0/24" not in h3.run(["ip", "route"]).out, "it is told of, not sent to"
    client.update("floatingips", floats[0]["id"], {"port_id": None})
    gone = f"{floats[0]['floating_ip_address']}/32"
    wait_until("it leads nowhere", lambda: not seen()[gone], 30)


def kernel_ways(host: LabHost) -> set[str]:
    """Return where the kernel of a host sends, by what it learnt: destination, next hop and link."""
    rows = (line.partition(" proto ")[0] for line in host.run(["ip", "route"]).out.splitlines())
    # A next hop may be an object of its own, whose number comes between.
    return {re.sub(r" nhid \d+", "", row) for row in rows}


def answers(output: str) -> list[float]:
    """Return when the answers came that a ping wrote."""
    return [float(text) for text in re.findall(r"^\[([\d.]+)\] \d+ bytes", output, re.MULTILINE)]


def longest_gap(times: list[float], ready_at: float) -> float:
    """Return the longest time between two answers, without that until there was somebody to answer."""
    pairs = itertools.pairwise(times)
    return max(later - (ready_at if earlier < ready_at < later else earlier) for earlier, later in pairs)
