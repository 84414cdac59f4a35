# SPDX-License-Identifier: Apache-2.0
"""Remove everything of ours from this host: `portico agent --purge`. What is ours is in the table of `owner`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from portico.agent import kernel, links, netlink, owner, speaker
from portico.agent.docker_user import CHAIN, DockerUser
from portico.agent.drivers.libnftables import Nft
from portico.agent.drivers.segment import is_segment, let_go
from portico.agent.learnt import LearntRoutes
from portico.agent.open_vswitch import OpenVswitch
from portico.agent.packet_log import FOLDER as PACKETS
from portico.agent.redirect import Redirects
from portico.agent.runtime import Place, only_agent
from portico.agent.server import Server
from portico.agent.servers import FOLDER, ROUTED_FOLDER, ROUTER_FOLDER
from portico.agent.tagging import Tags
from portico.agent.watchers import Watchers

_FOLDERS = (FOLDER, ROUTED_FOLDER, ROUTER_FOLDER)


def purge(place: Place) -> list[str]:
    """Remove the data plane and its files; return what was removed, for a person to read. Again: finds nothing.

    Raises:
        Unavailable: an agent runs here.
    """
    with only_agent(place):
        removed = [
            *_speaker(place),
            *_watchers(place),
            *_taps(place),
            *_segments(place),
            *_outlets(place),
            *_servers(place),
            *_namespace(place),
        ]
        removed += _host_rules(place)
        kinds = (*_FOLDERS, PACKETS)
        for folder in (top / kind / place.netns for kind in kinds for top in (place.run_dir, place.state_dir)):
            if folder.is_dir():
                shutil.rmtree(folder)
                removed.append(f"folder {folder}")
    return removed


def _speaker(place: Place) -> list[str]:
    """End the BIRD of the host's namespace, and remove what it put into the kernel."""
    netns = kernel.open_current()
    try:
        with netlink.Socket(netlink.ROUTE) as route:
            files = speaker.folder(place.run_dir, place.netns)
            bird = speaker.Bird(
                files, Path(f"/proc/self/fd/{netns}"), run_dir=place.run_dir, learnt=LearntRoutes(route)
            )
            if not bird.is_known():
                return []
            bird.end()
            bird.remove()
            return [f"BGP speaker of {place.netns}"]
    finally:
        os.close(netns)


def _watchers(place: Place) -> list[str]:
    """End what watches routers' next hops."""
    watchers = Watchers(place.netns, run_dir=place.run_dir)
    found = sorted(watchers.known())
    for short in found:
        watchers.of(short).end()
        watchers.remove(short)
    return [f"watch of router {short}" for short in found]


def _taps(place: Place) -> list[str]:
    """Remove joins to an end of a pair of ours, or to one that is gone, and the taps that we made."""
    removed = []
    with netlink.Socket(netlink.ROUTE) as route:
        host, redirects = links.Links(route), Redirects(route)
        found = host.all()
        foreign = {link.index for link in found if not owner.port_of(place.netns, link.alias)}
        for link in found:
            if link.kind != "tun":
                continue
            target = redirects.target(link.index)
            if target and target not in foreign:
                redirects.remove(link.index)
                removed.append(f"join of tap {link.name}")
            if link.index not in foreign:
                host.remove(link.name)
                removed.append(f"tap {link.name}")
    return removed


def _segments(place: Place) -> list[str]:
    """Give back to interfaces of physical networks what networks of ours have of them."""
    removed = []
    with netlink.Socket(netlink.ROUTE) as route:
        host, tags = links.Links(route), Tags(route)
        found = {link.index: link for link in host.all()}
        for link in found.values():
            for vlan, target in tags.untagged(link.index).items() if link.kind != "tun" else ():
                if target not in found or is_segment(place.netns, found[target].alias):
                    let_go(host, tags, link, vlan)
                    removed.append(f"VLAN {vlan} of interface {link.name}")
    return removed


def _outlets(place: Place) -> list[str]:
    """Remove the devices of outlets that we made, and let those of hypervisors go."""
    removed = []
    with netlink.Socket(netlink.ROUTE) as route:
        host, switch = links.Links(route), OpenVswitch(place.netns)
        for name in switch.ports():
            switch.remove(name)
            removed.append(f"Open vSwitch port {name}")
        for link in host.all():
            if not owner.outlet_of(place.netns, link.alias):
                continue
            if owner.words(link.alias)[1] == owner.MADE:
                host.remove(link.name)
            else:
                host.change(link.name, master=0, alias="")
            removed.append(f"outlet {link.name}")
    return removed


def _host_rules(place: Place) -> list[str]:
    """Remove our table in the host's namespace, and our rules in Docker's chain."""
    removed = []
    table = owner.host_table(place.netns)
    nft, netns = Nft(), kernel.open_current()
    try:
        if nft.tables([("inet", table)]):
            nft.run(f"delete table inet {table}\n")
            removed.append(f"nft table inet {table}")
        docker = DockerUser(netns, place.netns)
        for network_id in docker.read(()):
            docker.remove(network_id)
            removed.append(f"rules of network {network_id} in chain {CHAIN}")
    finally:
        nft.close()
        os.close(netns)
    return removed


def _servers(place: Place) -> list[str]:
    removed = []
    for folder in (place.run_dir / kind / place.netns for kind in _FOLDERS):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            for server in Server.all_of(path):
                server.end()
                removed.append(f"DHCP server {server.pid}")
    for prefix in (owner.dhcp_netns_prefix(place.netns), owner.router_netns_prefix(place.netns)):
        for name in kernel.names(prefix):
            kernel.remove_named(name)
            removed.append(f"namespace {name}")
    return removed


def _namespace(place: Place) -> list[str]:
    """Remove our namespace, but first its links one by one, for the kernel takes its time to end a namespace."""
    try:
        descriptor = kernel.open_named(place.netns)
    except FileNotFoundError:
        Path(kernel.NETNS_FOLDER, place.netns).unlink(missing_ok=True)
        return []
    removed = []
    with kernel.within(descriptor, lambda: netlink.Socket(netlink.ROUTE)) as route:
        own = links.Links(route)
        for link in own.all():
            if link.kind in ("veth", "bridge"):
                own.remove(link.name)
                removed.append(f"{link.kind} {link.name}")
    os.close(descriptor)
    kernel.remove_named(place.netns)
    return [*removed, f"namespace {place.netns}"]
