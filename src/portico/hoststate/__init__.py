# SPDX-License-Identifier: Apache-2.0
"""What a host must have: the words that planners and the agent share.

A host's wanted state is a flat mapping from key to object. Planners make it (pure), the feed carries it as
JSON, the agent realises it. Every object is whole: a change replaces it; there are no deltas inside one. Addresses
are strings in canonical form here, because this is a wire format; planners take them from `ipaddress` values.

May import nothing of Portico but `errors`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from portico.hoststate.l3 import Forward as Forward
from portico.hoststate.l3 import Router as Router
from portico.hoststate.l3 import Standing as Standing
from portico.hoststate.limit import Limit as Limit
from portico.hoststate.limit import Share as Share
from portico.hoststate.look import Look
from portico.hoststate.metering import Count as Count
from portico.hoststate.speaker import Behind as Behind
from portico.hoststate.speaker import Peer as Peer
from portico.hoststate.speaker import Speaker as Speaker
from portico.hoststate.uplink import Publish as Publish
from portico.hoststate.uplink import Target as Target
from portico.hoststate.uplink import Uplink as Uplink

ROUTED = "routed"
"""Stands for a network's id where all routed networks are meant: they share one space of addresses, and one filter."""

NEXT_HOPS = {4: "169.254.1.1", 6: "fe80::1"}
"""What routed ports send to whatever the destination, by IP version: every host's agent answers there."""

SECOND_NEXT_HOPS = {4: "169.254.1.3", 6: "fe80::3"}
"""The same, for the second routed link of a workload whose routes name no link: each next hop is behind one alone."""


class Bridge(msgspec.Struct, frozen=True, tag="bridge", tag_field="kind"):
    """The L2 segment of one network on this host.

    `mtu` is in bytes. Isolation between networks (addresses may overlap) is the agent's business: it gives each
    bridge a conntrack zone of its own. With a `physical_network` it goes on to the host's interface there: to what has
    the tag of `vlan`, or with 0 to what has none.
    """

    network_id: str
    mtu: int
    physical_network: str = ""
    vlan: int = 0


class Scope(msgspec.Struct, frozen=True):
    """The routed subnets (CIDRs) of one address scope; `scope_id` "" for those that are of none together."""

    scope_id: str
    cidrs: tuple[str, ...]


class Space(msgspec.Struct, frozen=True, tag="space", tag_field="kind"):
    """The routed space of this host: what is needed as soon as one routed port is on it.

    The agent's namespace forwards, and one link joins it to the host's namespace. `mtu` is that of the link: the most
    that any routed network on this host carries. With `ipv6` the host's namespace forwards IPv6 too.
    With a `way_out` the host lets what comes from it pass to its other links, and publishes ports. What is from
    `masquerade` (CIDRs) and for none of the routed subnets, `known`, leaves with the address of the link by which it
    leaves.
    Where subnets are of several address scopes, `scopes` has all of them, and nothing goes from one to another but to
    `floating` addresses, on whichever host they are, and back.
    Where there are `shares`, floating addresses of ports here may use no more of the link than theirs.
    """

    mtu: int
    ipv6: bool = False
    way_out: bool = False
    masquerade: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    scopes: tuple[Scope, ...] = ()
    floating: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()


class Source(msgspec.Struct, frozen=True):
    """One address that a VIF may send from: `cidr` (a host address is a /32 or /128) together with `mac`."""

    mac: str
    cidr: str


class Log(msgspec.Struct, frozen=True):
    """Who wants to have written down what passes the groups of a VIF (`event` ACCEPT), what they refuse, or both.

    With a `group_id`, of what passes only what that group lets in. `project_id` is whose log it is.
    """

    log_id: str
    project_id: str
    event: Literal["ACCEPT", "DROP", "ALL"]
    group_id: str = ""


class Guard(msgspec.Struct, frozen=True):
    """Port security of a VIF: what it may send from, the security groups that filter it, and who wants to know.

    No groups means: nothing in and nothing out but ARP, ND and DHCP.
    """

    sources: tuple[Source, ...]
    group_ids: tuple[str, ...]
    logs: tuple[Log, ...] = ()


class Qos(msgspec.Struct, frozen=True):
    """What a VIF may use. `egress` is from the workload and `ingress` to it, as with security group rules.

    `dscp` is the code point (RFC 2474) that marks each IP packet from the workload.
    """

    egress: Limit | None = None
    ingress: Limit | None = None
    egress_packets: Limit | None = None
    ingress_packets: Limit | None = None
    dscp: int | None = None


class Vif(msgspec.Struct, frozen=True, tag="vif", tag_field="kind"):
    """The end of a port on this host.

    The agent always makes a veth pair: one end in the bridge, the other, `link_name`, in the host's namespace. The port
    of a routed network has `ROUTED` for its network, and its end is in no bridge: the agent answers there as next hop
    (`NEXT_HOPS`) and leads `routes` to it, besides those `shared_routes` (CIDRs too) that are no other port's. With
    `plug` "veth" the consumer (Docker) moves `link_name` into its sandbox. With "tap" the agent joins `link_name` to
    the tap `tap_name`, which a hypervisor made or, with `make_tap`, the agent makes and later removes.
    `guard` None means port security is off: everything passes. `admin_up` False means no packet passes; the consumer's
    link loses its carrier then, unless the port is `steady`. Without `qos` it may use what there is.
    A subport of a trunk has a `vlan`: it is what passes with that VLAN's tag at the tap, which is its trunk's port's.
    A routed port has the `floating` addresses that stand for its own, and is led what `forwards` say.
    """

    port_id: str
    network_id: str
    mac: str
    mtu: int
    link_name: str
    plug: Literal["veth", "tap"] = "veth"
    tap_name: str = ""
    make_tap: bool = False
    admin_up: bool = True
    steady: bool = False
    guard: Guard | None = None
    routes: tuple[str, ...] = ()
    shared_routes: tuple[str, ...] = ()
    qos: Qos | None = None
    vlan: int = 0
    floating: tuple[Standing, ...] = ()
    forwards: tuple[Forward, ...] = ()


class Outlet(msgspec.Struct, frozen=True, tag="outlet", tag_field="kind"):
    """Where a port that another network service realises is plugged into that service's data plane on this host.

    `device` is the link in the host's namespace that the service looks for. `way` says what is done with it: "bridge"
    and "ovs" put it into the bridge `bridge` (with `interface_id` for Open vSwitch), "tap" leaves it to the service.
    A device of plug "veth" is one end of a pair that the agent makes, `link_name` the other, for a container; one of
    plug "tap" is a hypervisor's tap, or with `make_tap` the agent's. With `way` "link" the service makes `device`
    itself, and nothing is done but wait for it.
    """

    port_id: str
    mac: str
    mtu: int
    device: str
    way: Literal["bridge", "ovs", "tap", "link"]
    bridge: str = ""
    interface_id: str = ""
    plug: Literal["veth", "tap"] = "tap"
    link_name: str = ""
    make_tap: bool = False


class Rule(msgspec.Struct, frozen=True):
    """One security group rule.

    `protocol` is an IP protocol number (ICMPv6 is 58) or None for any. `port_min`/`port_max` are ports (TCP, UDP, SCTP,
    DCCP, UDP-Lite), or the ICMP type and code; None leaves it open. At most one of `remote_cidr` and
    `remote_group_id` (a security group or an address group) is set; neither means any peer. For ingress the remote is
    the sender, for egress the receiver.
    """

    direction: Literal["ingress", "egress"]
    ethertype: Literal["IPv4", "IPv6"]
    protocol: int | None = None
    port_min: int | None = None
    port_max: int | None = None
    remote_cidr: str | None = None
    remote_group_id: str | None = None


class Group(msgspec.Struct, frozen=True, tag="group", tag_field="kind"):
    """A security group as far as this host needs it. Stateless groups (`stateful` False) track no connections."""

    group_id: str
    rules: tuple[Rule, ...]
    stateful: bool = True


class Member(msgspec.Struct, frozen=True, tag="member", tag_field="kind"):
    """One address (CIDR) of a group that some rule on this host names as remote group, on one network (or `ROUTED`).

    In a security group it is a port's there; an address group has all of its addresses on every network of the host.
    """

    group_id: str
    network_id: str
    cidr: str


class Route(msgspec.Struct, frozen=True):
    """A route told to DHCP clients."""

    destination: str
    nexthop: str


class DhcpSubnet(msgspec.Struct, frozen=True):
    """A subnet as its DHCP server tells it.

    `mode` is "dhcpv4", or for IPv6 the pair of Neutron's address mode: "slaac", "dhcpv6-stateful", "dhcpv6-stateless".
    `advertise` asks for router advertisements (ipv6_ra_mode is set). `server` is the server's own address in it.
    """

    subnet_id: str
    cidr: str
    server: str
    mode: Literal["dhcpv4", "slaac", "dhcpv6-stateful", "dhcpv6-stateless"]
    advertise: bool = False
    gateway: str | None = None
    dns_servers: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()


class Dhcp(msgspec.Struct, frozen=True, tag="dhcp", tag_field="kind"):
    """The DHCP, DNS and router advertisement server of one network on this host (dnsmasq in a namespace of its own).

    Of `routed` networks all have the same, in the agent's namespace; their clients get the next hop for a router.
    """

    network_id: str
    port_id: str
    mac: str
    mtu: int
    domain: str
    subnets: tuple[DhcpSubnet, ...]
    routed: bool = False


class DhcpOption(msgspec.Struct, frozen=True):
    """An extra DHCP option: `name` as dnsmasq knows it or a number; `ip_version` 4 or 6."""

    name: str
    value: str
    ip_version: int = 4


class Lease(msgspec.Struct, frozen=True, tag="lease", tag_field="kind"):
    """A port that a DHCP server on this host answers, and whose name it resolves.

    `addresses` are plain addresses; without a `hostname` each has a name of its own (`model.address.host_name`).
    `domain` completes its names; empty: that of the network's server.
    `serve` False: only its name is known here (the port lives on another host).
    """

    network_id: str
    port_id: str
    mac: str
    addresses: tuple[str, ...]
    hostname: str
    options: tuple[DhcpOption, ...] = ()
    serve: bool = True
    domain: str = ""


class Custom(msgspec.Struct, frozen=True, tag="custom", tag_field="kind"):
    """What the driver `of` another package makes on this host (entry point group `portico.drivers`).

    `id` tells it from others of the same driver. When `of` is a resource with a status, and `id` an object's, what
    becomes of it here is the object's status. `data` is between planner and driver. `needs` are keys of other wanted
    objects: when one of them changes, this one is looked at again.
    """

    of: str
    id: str
    data: dict[str, Any] = {}
    needs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """See `key_of`."""
        return f"{self.of}/{self.id}"


HostObject = (
    Bridge
    | Space
    | Vif
    | Group
    | Member
    | Dhcp
    | Lease
    | Outlet
    | Router
    | Uplink
    | Publish
    | Speaker
    | Peer
    | Behind
    | Custom
)


def key_of(item: HostObject) -> str:
    """Return the key under which `item` stands in a host's wanted state, e.g. `vif/3f0c...`."""
    match item:
        case Bridge():
            return f"bridge/{item.network_id}"
        case Space():
            return f"space/{ROUTED}"
        case Vif():
            return f"vif/{item.port_id}"
        case Group():
            return f"group/{item.group_id}"
        case Member():
            return f"member/{item.group_id}/{item.network_id}/{item.cidr}"
        case Dhcp():
            return f"dhcp/{item.network_id}"
        case Lease():
            return f"lease/{item.port_id}"
        case Outlet():
            return f"outlet/{item.port_id}"
        case Router() | Uplink() | Publish() | Speaker() | Peer() | Behind() | Custom():
            return item.key


class Update(msgspec.Struct, frozen=True):
    """One line of the feed from broker to agent.

    The first line after connecting is `complete`: `objects` is the host's whole wanted state and whatever else the
    agent has is to be swept. Later lines replace `objects` and remove `gone` keys; one with neither is a sign of life.
    While backends are `unknown`, by name, a complete state lacks what they want, so nothing is to be swept: another
    complete one follows when they are known. `looks` are to be answered, whatever is wanted.
    """

    revision: int
    objects: tuple[HostObject, ...] = ()
    gone: tuple[str, ...] = ()
    complete: bool = False
    unknown: tuple[str, ...] = ()
    looks: tuple[Look, ...] = ()


class Status(msgspec.Struct, frozen=True):
    """What became of one wanted object: read back from the kernel, not assumed.

    `state`: "active" (realised and read back), "waiting" (`reason` says for what, e.g. a tap that does not exist yet),
    "error" (`reason` is the kernel's or engine's words). A key that was swept is reported as "gone".
    """

    key: str
    state: Literal["active", "waiting", "error", "gone"]
    reason: str = ""


class Report(msgspec.Struct, frozen=True):
    """What an agent sends: statuses that changed since the last report, and its facts, which also serve as heartbeat.

    `revision` is the newest Update that the statuses take into account. `started` is set until the first Report since
    the agent's start is delivered. The fact `availability_zone` is the zone of the host, `physical_networks` has
    NAME:INTERFACE of each that the host has, with spaces between, `able` names what it can do, with spaces between, and
    `lacks_NAME` says why not what else a backend may need. `measures` are numbers about the agent's own work, for
    metrics alone; they and `counts` come with the facts.
    """

    revision: int
    statuses: tuple[Status, ...] = ()
    facts: dict[str, str] = {}
    started: bool = False
    measures: dict[str, float] = {}
    counts: tuple[Count, ...] = ()
