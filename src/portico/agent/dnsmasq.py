# SPDX-License-Identifier: Apache-2.0
"""dnsmasq's files for one network: DHCP for IPv4 and IPv6, router advertisements, names. Pure. Source: dnsmasq(8).

What changes when a port comes or goes is in files that dnsmasq reads again on SIGHUP; the rest, which is the subnets
and which ports have options of their own, needs a restart. Only
ports that are known here get an answer, and nothing is asked of other name servers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from portico.agent import addresses, owner
from portico.hoststate import Dhcp, DhcpOption, DhcpSubnet, Lease, Router
from portico.model.address import host_name

LINK = "eth0"
LEASE_S = 86400
ADVERTISE_EVERY_S = 60
ROUTER_LIFETIME_S = 1800
"""For how long hosts take a router that is not heard of for one (RFC 4861 section 6.2.1)."""

HOSTS, NAMES, OPTIONS, LEASES, PID, NETWORK = "hosts", "names", "options", "leases", "pid", "network"
RELOADED = (HOSTS, NAMES, OPTIONS)
"""The files that are read again on SIGHUP."""

TITLE, ROUTER_TITLE = "# network ", "# router "
"""Begin a configuration file; the id of its network or router follows."""
_WORD = re.compile(r"[\w.<>+-]*")


def config(dhcp: Dhcp, leases: Sequence[Lease], *, run_dir: str, state_dir: str, user: str) -> str:
    """Return the configuration file. `run_dir` holds the files read again on SIGHUP, `state_dir` the leases."""
    lines = [f"{TITLE}{dhcp.network_id}", *head(run_dir, state_dir, user), f"interface={LINK}"]
    if dhcp.domain:
        lines += [f"domain={dhcp.domain}", f"local=/{dhcp.domain}/"]
    for subnet in dhcp.subnets:
        lines += ranges(subnet)
    lines += tags(leases)
    if any(subnet.advertise for subnet in dhcp.subnets):
        # no router yet: lifetime 0 keeps clients from taking this server for a default gateway (RFC 4861 section 4.2)
        lines.append(f"ra-param={LINK},mtu:{dhcp.mtu},{ADVERTISE_EVERY_S},0")
    if any(subnet.advertise and subnet.mode == "dhcpv6-stateful" for subnet in dhcp.subnets):
        lines.append("enable-ra")
    return "\n".join(lines) + "\n"


def head(run_dir: str, state_dir: str, user: str) -> list[str]:
    """Return the lines that the configuration of any server has."""
    return [
        f"user={user}",
        "group=",
        f"pid-file={run_dir}/{PID}",
        "except-interface=lo",
        "bind-dynamic",
        "no-resolv",
        "no-hosts",
        "cache-size=0",
        "dhcp-authoritative",
        "no-ping",
        "dhcp-ignore=tag:!known",
        "dhcp-lease-max=65536",
        f"dhcp-leasefile={state_dir}/{LEASES}",
        f"dhcp-hostsfile={run_dir}/{HOSTS}",
        f"dhcp-optsfile={run_dir}/{OPTIONS}",
        f"addn-hosts={run_dir}/{NAMES}",
        "quiet-dhcp",
        "quiet-dhcp6",
        "quiet-ra",
    ]


def announcement(router: Router, *, run_dir: str, user: str) -> str:
    """Return the configuration of a server that does nothing but announce a router's prefixes on its legs.

    Raises:
        ValueError: a prefix is none.
    """
    lines = [f"{ROUTER_TITLE}{router.router_id}", f"user={user}", "group=", f"pid-file={run_dir}/{PID}", "port=0"]
    lines += ["except-interface=lo", "bind-dynamic", "leasefile-ro", "dhcp-ignore=tag:!known"]
    lines += ["quiet-dhcp6", "quiet-ra"]
    for leg in router.legs:
        if not leg.prefixes:
            continue
        link = owner.leg_link(leg.port_id)
        lines += [f"interface={link}", f"ra-param={link},mtu:{leg.mtu},{ADVERTISE_EVERY_S},{ROUTER_LIFETIME_S}"]
        for number, prefix in enumerate(leg.prefixes):
            cidr = str(addresses.network(prefix.cidr, "cidr"))
            # a tag for each, or dnsmasq takes two prefixes of a leg for one
            lines += ranges(DhcpSubnet(f"{leg.port_id}-{number}", cidr, "", prefix.mode, advertise=True))
            if prefix.mode == "dhcpv6-stateful" and "enable-ra" not in lines:
                lines.append("enable-ra")
    return "\n".join(lines) + "\n"


def tags(leases: Sequence[Lease]) -> list[str]:
    """Return the lines by which clients with options of their own are known.

    Not as `set:` in the hosts file: dnsmasq 2.90 dies of a SIGHUP after it has served a host that has a tag there.
    """
    return [f"dhcp-mac=set:{tag_of(lease.port_id)},{lease.mac}" for lease in leases if lease.serve and lease.options]


def fault(item: Dhcp | Lease) -> str:
    """Return which text of `item` is no address, or would not stay where these files have it; empty if all is well."""
    try:
        _check_addresses(item)
    except ValueError as error:
        return str(error)
    if isinstance(item, Dhcp):
        return "" if _WORD.fullmatch(item.domain) else f"domain {item.domain!a} is not one word"
    if not _WORD.fullmatch(item.hostname):
        return f"hostname {item.hostname!a} is not one word"
    if not _WORD.fullmatch(item.domain):
        return f"domain {item.domain!a} is not one word"
    for option in item.options:
        if not (option.name and _WORD.fullmatch(option.name)):
            return f"name of DHCP option {option.name!a} is not one word"
        if not option.value.isprintable():
            return f"value of DHCP option {option.name}: {option.value!a} is not one line"
    return ""


def _check_addresses(item: Dhcp | Lease) -> None:
    """Raise ValueError for the first thing that should be an address and is not."""
    addresses.mac(item.mac, "mac")
    if isinstance(item, Lease):
        for number, address in enumerate(item.addresses):
            addresses.address(address, f"addresses[{number}]")
        return
    for number, subnet in enumerate(item.subnets):
        name = f"subnets[{number}]"
        addresses.network(subnet.cidr, f"{name}.cidr")
        single = {"server": subnet.server, "gateway": subnet.gateway}
        single |= {f"dns_servers[{at}]": address for at, address in enumerate(subnet.dns_servers)}
        single |= {f"routes[{at}].nexthop": route.nexthop for at, route in enumerate(subnet.routes)}
        for attribute, text in single.items():
            if text is not None:
                addresses.address(text, f"{name}.{attribute}")
        for at, route in enumerate(subnet.routes):
            addresses.network(route.destination, f"{name}.routes[{at}].destination")


def router_of(text: str) -> str:
    """Return the id of the router that a configuration file is for; empty if it is none of ours."""
    first = text.partition("\n")[0]
    return first.removeprefix(ROUTER_TITLE) if first.startswith(ROUTER_TITLE) else ""


def network_of(text: str) -> str:
    """Return the id of the network that a configuration file is for; empty if it is none of ours."""
    first = text.partition("\n")[0]
    return first.removeprefix(TITLE) if first.startswith(TITLE) else ""


def hosts(leases: Sequence[Lease]) -> str:
    """Return the known clients: MAC address, address, name. A client may have several addresses."""
    lines = []
    for lease in leases:
        if not lease.serve:
            continue
        for address in lease.addresses:
            text = f"[{address}]" if ":" in address else address
            lines.append(f"{lease.mac},{text},{lease.hostname or host_name(address)}")
    return "".join(f"{line}\n" for line in lines)


def without_leases_in_the_way(leases: str, before: str, after: str) -> str:
    """Return the lease file's text without the leases that keep newly known clients from their addresses.

    dnsmasq holds an address for whoever had it last, for `LEASE_S`, also when its hosts file gives it to another
    client. `before` and `after` are the texts of that file. A lease of DHCPv6 does not tell the MAC address, so
    each on an address that comes to a client goes; the client's own it gets again.
    """
    coming = _clients(after) - _clients(before)
    lost = {address for address, _ in coming}

    def stays(line: str) -> bool:
        words = line.split()
        return len(words) < 3 or words[2] not in lost or (words[2], words[1]) in coming

    return "".join(line for line in leases.splitlines(keepends=True) if stays(line))


def _clients(text: str) -> set[tuple[str, str]]:
    """Return (address, MAC address) of the clients in the text of a hosts file."""
    words = [line.split(",") for line in text.splitlines()]
    return {(address.strip("[]"), mac) for mac, address, *_ in words}


def names(dhcp: Dhcp, leases: Sequence[Lease]) -> str:
    """Return addresses and names of all ports, as in /etc/hosts."""
    lines = []
    for lease in leases:
        domain = lease.domain or dhcp.domain
        for address in lease.addresses:
            name = lease.hostname or host_name(address)
            lines.append(f"{address} {name}.{domain} {name}" if domain else f"{address} {name}")
    return "".join(f"{line}\n" for line in lines)


def options(dhcp: Dhcp, leases: Sequence[Lease]) -> str:
    """Return the options of subnets and of single ports."""
    lines = []
    for subnet in dhcp.subnets:
        lines += _subnet_options(subnet, dhcp.mtu)
    lines += port_options(leases)
    return "".join(f"{line}\n" for line in lines)


def port_options(leases: Sequence[Lease]) -> list[str]:
    """Return the lines of an options file for the options of single ports."""
    served = [lease for lease in leases if lease.serve]
    return [_option(f"tag:{tag_of(lease.port_id)}", option) for lease in served for option in lease.options]


def ranges(subnet: DhcpSubnet) -> list[str]:
    """Return the range of a subnet, if it has one: of addresses for known clients, or of a prefix to advertise."""
    net = ipaddress.ip_network(subnet.cidr)
    if subnet.mode == "dhcpv4":
        return [f"dhcp-range=set:{tag_of(subnet.subnet_id)},{net.network_address},static,{net.netmask},{LEASE_S}"]
    words = {"slaac": "ra-only", "dhcpv6-stateless": "ra-stateless", "dhcpv6-stateful": "static"}
    if not subnet.advertise:
        if subnet.mode == "slaac":
            return []
        words["dhcpv6-stateless"] = "static"
    mode = words[subnet.mode]
    lease = "" if mode == "ra-only" else f",{LEASE_S}"
    return [f"dhcp-range=set:{tag_of(subnet.subnet_id)},{net.network_address},{mode},{net.prefixlen}{lease}"]


def _subnet_options(subnet: DhcpSubnet, mtu: int) -> list[str]:
    tag = f"tag:{tag_of(subnet.subnet_id)}"
    if subnet.mode != "dhcpv4":
        servers = ",".join(f"[{address}]" for address in subnet.dns_servers)
        return [f"{tag},option6:dns-server,{servers}"] if servers else []
    lines = [f"{tag},option:mtu,{mtu}"]
    # an empty option is not sent; without this dnsmasq would name itself
    lines.append(f"{tag},option:router,{subnet.gateway}" if subnet.gateway else f"{tag},option:router")
    if subnet.dns_servers:
        lines.append(f"{tag},option:dns-server,{','.join(subnet.dns_servers)}")
    if subnet.routes:
        routes = [(route.destination, route.nexthop) for route in subnet.routes]
        if subnet.gateway and "0.0.0.0/0" not in dict(routes):
            routes.append(("0.0.0.0/0", subnet.gateway))  # with option 121 a client ignores option 3 (RFC 3442)
        flat = ",".join(f"{destination},{nexthop}" for destination, nexthop in routes)
        lines.append(f"{tag},option:classless-static-route,{flat}")
    return lines


def _option(tag: str, option: DhcpOption) -> str:
    family = "option6" if option.ip_version == 6 else "option"
    name = option.name if option.ip_version == 4 and option.name.isdecimal() else f"{family}:{option.name}"
    return f"{tag},{name},{option.value}" if option.value else f"{tag},{name}"


def tag_of(object_id: str) -> str:
    """Return the tag that stands for a subnet or a port."""
    return f"x{object_id}"
