# SPDX-License-Identifier: Apache-2.0
"""`portico topology`: networks, subnets, ports and workloads as a tree."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from portico.cli import output
from portico.cli.context import Context
from portico.errors import NotFound

if TYPE_CHECKING:
    from portico.client import Client

Object = Mapping[str, Any]
DOCKER_OWNER = "docker:"
DOCKER_NETWORK = "docker:network"
ROUTER_GATEWAY = "network:router_gateway"
PATH = "/portico/v1/topology"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the networks to show and the form."""
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="names or ids (default: all)")
    parser.add_argument(
        "-f", "--format", choices=("tree", "json", "yaml"), default="tree", help="how to print (default: tree)"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the tree."""
    client = context.client
    networks = _chosen(client.list("networks"), arguments.networks)
    subnets = _by_network(client.list("subnets"))
    names = {network["id"] for network in networks}
    routers = {router["id"]: _title(router) for router in client.list("routers")}
    shown = [port for port in client.list("ports") if port["network_id"] in names]
    reasons = _reasons(client) if any(item["status"] != "ACTIVE" for item in [*networks, *shown]) else {}
    ports = _by_network(
        {**port, "status_reason": reasons.get(f"port/{port['id']}", ""), "router": routers.get(port["device_id"], "")}
        for port in shown
    )
    found = [
        {
            **network,
            "status_reason": reasons.get(f"network/{network['id']}", ""),
            "subnets": subnets[network["id"]],
            "ports": ports[network["id"]],
        }
        for network in sorted(networks, key=_name)
    ]
    if arguments.format == "tree":
        text = "".join(f"{line}\n" for network in found for line in tree(network))
        sys.stdout.write(text or "no networks\n")
    else:
        sys.stdout.write(output.document(found, arguments.format))
    return 0


def _chosen(networks: Sequence[Object], words: Sequence[str]) -> list[Object]:
    """Return the networks whose names or ids are among `words`; without words all.

    Raises:
        NotFound: a word is that of none.
    """
    for word in words:
        if not any(word in (network["id"], network["name"]) for network in networks):
            raise NotFound(f"no network has the name or id {word!r}")
    return [network for network in networks if not words or {network["id"], network["name"]} & set(words)]


def _reasons(client: Client) -> dict[str, str]:
    """Return why objects are not ACTIVE, by kind and id, as far as anybody has said."""
    found: dict[str, str] = {}
    path = PATH
    while path:
        page = client.get_json(path)
        found |= page["reasons"]
        links = page.get("topology_links")
        path = f"{PATH}?{urlsplit(links[0]['href']).query}" if links else ""
    return found


def _by_network(objects: Iterable[Object]) -> dict[str, list[Object]]:
    grouped: dict[str, list[Object]] = defaultdict(list)
    for item in sorted(objects, key=_name):
        grouped[item["network_id"]].append(item)
    return grouped


def _name(item: Object) -> tuple[str, str]:
    return item["name"], item["id"]


def tree(network: Object) -> Iterator[str]:
    """Yield the lines of one network."""
    yield f"network {_title(network)}  {network['status']}{_off(network)}  mtu {network['mtu']}"
    subnets, ports = network["subnets"], network["ports"]
    if network["status_reason"]:
        yield f"{'│  ' if subnets or ports else '   '}{network['status_reason']}"
    branches = [[_subnet(subnet)] for subnet in subnets] + [list(_port(port)) for port in ports]
    for number, lines in enumerate(branches, 1):
        last = number == len(branches)
        for depth, line in enumerate(lines):
            stem = ("└─ " if last else "├─ ") if depth == 0 else ("   " if last else "│  ")
            yield stem + line


def _title(item: Object) -> str:
    return str(item["name"] or item["id"])


def _off(item: Object) -> str:
    return "" if item["admin_state_up"] else " (switched off)"


def _subnet(subnet: Object) -> str:
    parts = [f"subnet {_title(subnet)}  {subnet['cidr']}"]
    if subnet["gateway_ip"]:
        parts.append(f"gateway {subnet['gateway_ip']}")
    if subnet["enable_dhcp"]:
        is_ipv6 = subnet["ip_version"] == 6
        parts.append((is_ipv6 and (subnet["ipv6_address_mode"] or subnet["ipv6_ra_mode"])) or "dhcp")
    return "  ".join(parts)


def _port(port: Object) -> Iterator[str]:
    if port["device_owner"] == DOCKER_NETWORK:
        # No workload: by this port the plugin remembers which of Docker's networks this is.
        yield f"Docker network {_title(port)}  {port['device_id'][:12]}"
        return
    addresses = ", ".join(fixed["ip_address"] for fixed in port["fixed_ips"]) or "no address"
    yield f"port {_title(port)}  {port['status']}{_off(port)}  {addresses}  {port['mac_address']}"
    if port["status_reason"]:
        yield port["status_reason"]
    owner, device = port["device_owner"], port["device_id"]
    if port["router"]:
        yield f"{'gateway' if owner == ROUTER_GATEWAY else 'interface'} of router {port['router']}"
        return
    host = port.get("binding:host_id") or ""
    if owner or device or host:
        where = f"on {host} as {port['binding:vif_type']}" if host else "not plugged"
        yield "  ".join(filter(None, [owner or "workload", _short(owner, device), where]))


def _short(owner: str, device: str) -> str:
    """Return an id as its own program shows it: Docker prints the first 12 letters of one."""
    return device[:12] if owner.startswith(DOCKER_OWNER) else device
