# SPDX-License-Identifier: Apache-2.0
"""The ownership table: what on a host is ours, and by which sign a freshly started agent knows it.

| object | where | sign |
|---|---|---|
| network namespace `<netns>` (setting `agent.netns`) | `/run/netns` | its name; all in it is ours |
| network namespace `<netns>-dhcp-<network id[:11]>` | `/run/netns` | the prefix of its name; all in it is ours |
| network namespace `<netns>-router-<router id[:11]>` | `/run/netns` | the prefix of its name; all in it is ours |
| bridge `br<network id[:11]>` | our namespace | alias `portico:<network id> <zone>` |
| veth end `pb<port id[:11]>` | our namespace | alias `portico:<port id> <link name> <mac>` |
| ifb link `pi<port id[:11]>` | our namespace | alias `portico:<port id> limit` |
| veth end `pd<network id[:11]>` | our namespace | alias `portico:<network id> dhcp <digest>` |
| veth end `pl<port id[:11]>` | our namespace | alias `portico:<router id> leg <port id>`; goes with its other end |
| ifb link `pm<port id[:11]>` | our namespace | alias `portico:<router id> share <port id>` |
| bridge `pq<network id[:11]>` | our namespace | alias `portico:<network id> dhcp <digest>` |
| veth end `prhost` | our namespace | alias `portico:routed <link name>` |
| ifb link `prshare` | our namespace | alias `portico:routed share` |
| veth end `pr<netns>` | host | alias `portico:routed host <netns>`; goes with its other end |
| routes by way of that end | host | the link, and protocol 80 |
| veth end `pu<network id[:11]>` | our namespace | alias `portico:<network id> uplink <link name>` |
| veth end `px<network id[:11]>` | host | alias `portico:<network id> uplink <netns>`; goes with its other end |
| veth end `ps<network id[:11]>` | our namespace | alias `portico:<network id> segment <link name>` |
| veth end `py<network id[:11]>` | host | alias `portico:<network id> segment <netns>`; goes with its other end |
| veth end `pv<port id[:11]>` | host or container | alias `portico:<port id> <netns>`; goes with its other end |
| nft tables `bridge portico`, `inet portico` | our namespace | the namespace |
| nft table `inet portico`, for another `<netns>` than `portico` with a digest of it | host | its name |
| rules of DOCKER-USER, three for a link | host | one has comment `portico:<network id, or routed> uplink <netns>` |
| conntrack entries | our namespace | the namespace |
| tap that we made | host | kind tun and alias `portico:<port id> <netns>` |
| veth end or tap of an outlet | host | alias `portico:<port id> made <netns>`, for veth its other end |
| veth pair of an outlet that a crash left half made | host | both names of one that is wanted, and no alias |
| hypervisor's tap of an outlet | host | alias `portico:<port id> taken <netns>`; only let go |
| port of an Open vSwitch bridge | Open vSwitch | `external_ids:portico-netns` is `<netns>` |
| bpf filter that joins a tap | ingress of the tap | preference 28783; leads to a `pv` of ours, or to nothing |
| bpf filter that joins a subport | ingress of the tap and of the `pv` | preference 28782, name `portico-tag-...` |
| bpf filter that joins a physical network | ingress of interface and `py` | the same; leads to a `py` or to nothing |
| flags of that interface: up, promiscuous | host | the name of that filter tells which are ours |
| dnsmasq | a DHCP or router namespace of ours, or our namespace | that namespace |
| BIRD | host, and routers whose next hops are watched | its configuration is a file in our folder |
| routes that BIRD learnt or keeps | host's or router's table `main` | protocol 12 (`bird`) and metric 2080 |
| files | `<state_dir>/dhcp/<netns>/`, `<run_dir>/dhcp/<netns>/`, `<run_dir>/bgp/<netns>/` | the folders |
| files for what routers announce | `<run_dir>/router/<netns>/` | the folder |
| files for next hops that are watched | `<run_dir>/bfd/<router's namespace>/` | the folders |
| files for routed networks | `<state_dir>/routed-dhcp/<netns>/`, `<run_dir>/routed-dhcp/<netns>/` | the folders |
| packets that were written down | `<state_dir>/packets/<netns>/` | the folder |

Nothing else is ever removed. There may be two agents on one host, with different namespaces: each leaves what is the
other's alone. The same table is in docs/design/ownership.md; a test compares them.
"""

from __future__ import annotations

import hashlib

ALIAS = "portico:"
MADE, TAKEN = "made", "taken"
"""Words in the alias of an outlet's device: we made it, or put another's into a bridge."""
TABLE = "portico"

SPACE_LINK = "prhost"
"""The end, in our namespace, of the link that joins the routed space to the host's."""

SPACE_SHARE_LINK = "prshare"
"""The link where what comes in by it for floating addresses waits for their shares."""

PROTOCOL = 80
"""Of routes that lead to ports (`rtm_protocol` in rtnetlink(7)); /etc/iproute2/rt_protos gives it to nobody."""

BGP_PROTOCOL = 12
"""Of routes that a BIRD puts into the kernel, ours or another one (RTPROT_BIRD)."""

BGP_METRIC = 2080
"""Of those that our BIRD puts there; more than a route to a port of this host has, whatever its IP version."""

_SHORT = 11
_IFNAMSIZ = 16


def short(object_id: str) -> str:
    """Return as much of an id as fits into the name of a link, after a prefix of two letters."""
    return object_id[:_SHORT]


def bridge_name(network_id: str) -> str:
    """Return the name of a network's bridge."""
    return f"br{short(network_id)}"


def port_link(port_id: str) -> str:
    """Return the name of the end of a port's veth pair that is in the bridge."""
    return f"pb{short(port_id)}"


def host_link(port_id: str) -> str:
    """Return the usual name of the other end, which the host or a container sees."""
    return f"pv{short(port_id)}"


def limit_link(port_id: str) -> str:
    """Return the name of the link where what a port sends waits while it is limited."""
    return f"pi{short(port_id)}"


def dhcp_link(network_id: str) -> str:
    """Return the name of the end, in the bridge, of the DHCP server's veth pair."""
    return f"pd{short(network_id)}"


def uplink_link(network_id: str) -> str:
    """Return the name of the end, in the bridge, of the link from an external network to the host."""
    return f"pu{short(network_id)}"


def uplink_host_link(network_id: str) -> str:
    """Return the name of its other end, which the host has."""
    return f"px{short(network_id)}"


def segment_link(network_id: str) -> str:
    """Return the name of the end, in the bridge, of the link from a network to a physical one."""
    return f"ps{short(network_id)}"


def segment_host_link(network_id: str) -> str:
    """Return the name of its other end, which the host has."""
    return f"py{short(network_id)}"


def host_table(netns: str) -> str:
    """Return the name of the nft table, in the host's namespace, of the agent of `netns`."""
    return TABLE if netns == TABLE else f"{TABLE}-{hashlib.sha256(netns.encode()).hexdigest()[:_SHORT]}"


def space_link(netns: str) -> str:
    """Return the name of the end, in the host's namespace, of the link to the routed space of the agent of `netns`."""
    name = f"pr{netns}"
    return name if len(name) < _IFNAMSIZ else f"pr{hashlib.sha256(netns.encode()).hexdigest()[:_SHORT]}"


def routed_dhcp_link(network_id: str) -> str:
    """Return the name of the link that has a routed network's addresses of the DHCP server."""
    return f"pq{short(network_id)}"


def leg_link(port_id: str) -> str:
    """Return the name of both ends of a router's link to a network: in the bridge, and in the router's namespace."""
    return f"pl{short(port_id)}"


def share_link(port_id: str) -> str:
    """Return the name of the link where what a router sends by a leg waits for its share."""
    return f"pm{short(port_id)}"


def router_netns_prefix(netns: str) -> str:
    """Return what the names of all router namespaces of the agent with namespace `netns` begin with."""
    return f"{netns}-router-"


def router_netns(netns: str, router_id: str) -> str:
    """Return the name of a router's namespace."""
    return f"{router_netns_prefix(netns)}{short(router_id)}"


def dhcp_netns(netns: str, network_id: str) -> str:
    """Return the name of the namespace that a network's DHCP server runs in."""
    return f"{dhcp_netns_prefix(netns)}{short(network_id)}"


def dhcp_netns_prefix(netns: str) -> str:
    """Return what the names of all DHCP namespaces of the agent with namespace `netns` begin with."""
    return f"{netns}-dhcp-"


def alias(*words: str) -> str:
    """Return the ifalias by which a link is known."""
    return ALIAS + " ".join(words)


def host_alias(netns: str, port_id: str) -> str:
    """Return the ifalias of a link in the host's namespace: of which port, and of which agent, for there may be two."""
    return alias(port_id, netns)


def port_of(netns: str, text: str) -> str:
    """Return whose port's a link in the host's namespace is, by its ifalias; empty if none of this agent's."""
    found = words(text)
    return found[0] if found[1:] == [netns] else ""


def outlet_of(netns: str, text: str) -> str:
    """Return whose outlet a link of the host's namespace is, by its ifalias; empty if none of this agent's."""
    found = words(text)
    return found[0] if len(found) in (3, 5) and found[1] in (MADE, TAKEN) and found[2] == netns else ""


def words(text: str) -> list[str]:
    """Return the words of an ifalias of ours; empty if it is not one."""
    return text[len(ALIAS) :].split() if text.startswith(ALIAS) else []
