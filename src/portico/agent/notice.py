# SPDX-License-Identifier: Apache-2.0
"""What the loop is to look at again, by what the kernel tells of links, traffic control and rules."""

from __future__ import annotations

from collections.abc import Iterable

from portico.agent import links, netlink, owner, redirect
from portico.agent.drivers.fast_path import FastPath
from portico.agent.drivers.link import LinkTable
from portico.agent.drivers.nft import FilterDriver
from portico.agent.drivers.segment import SegmentDriver
from portico.agent.drivers.subport import SubportDriver
from portico.agent.drivers.tap import TapDriver
from portico.agent.fast_path import hooks
from portico.agent.link_news import LinkNews
from portico.agent.loop import Loop
from portico.agent.shaper import Shapers

VANISHED_WAIT_S = 0.1
"""How long a vanished link is left alone: as a rule its container has ended, and the port is about to go too."""

_KINDS = {
    "br": "bridge", "pb": "vif", "pi": "vif", "pd": "dhcp", "pl": "router", "pm": "router", "pq": "dhcp",
    "pr": "space", "ps": "bridge", "pu": "uplink",
}  # fmt: skip
"""Kind of wanted object by the first letters of a link's name in our namespace (see owner)."""


def notice_links(loop: Loop, table: LinkTable, shapers: Shapers, fast_path: FastPath, events: netlink.Socket) -> None:
    """Have the loop look at links of ours that are not as it left them, or with traffic control that may not be."""
    try:
        arrived = list(events.events())
    except netlink.NetlinkError:
        fast_path.suspect()
        loop.suspect()
        return
    controlled = [(index, kind, body) for kind, body in arrived if (index := redirect.changed_at(kind, body))]
    changes = [one for one in controlled if not hooks.is_own(*one[1:])]
    fast_path.suspect({index for index, kind, _ in changes if kind in redirect.FILTERS})
    if limited := {index for index, kind, body in changes if not shapers.is_known(kind, body)}:
        at = [link for link in table.by_name.values() if link.index in limited and link.name[:2] in _KINDS]
        loop.suspect(f"{_KINDS[link.name[:2]]}/{words[0]}" for link in at if (words := owner.words(link.alias)))
    # Of each link only what was said last: while it is made it speaks at every step.
    last: dict[int, tuple[int, bytes]] = {}
    for kind, body in _about_links(arrived):
        index = links.index_of(body)
        last.pop(index, None)
        last[index] = kind, body
    parsed = [(kind, links.parse(body)) for kind, body in last.values()]
    seen = {found.name: (kind, found) for kind, found in parsed}
    for name, (kind, found) in seen.items():
        known = table.by_name.get(name)
        if known is None or (kind == links.RTM_NEWLINK and found == known):
            continue
        if kind == links.RTM_DELLINK and found.index != known.index:  # one of the same name has come before it went
            continue
        if name == owner.SPACE_LINK:  # with it the host's namespace loses all its routes to ports
            loop.suspect()
            continue
        subject = owner.words(known.alias)
        if subject and name[:2] in _KINDS:
            loop.suspect(
                [f"{_KINDS[name[:2]]}/{subject[0]}"], delay_s=VANISHED_WAIT_S if kind == links.RTM_DELLINK else 0.0
            )


def notice_rules(loop: Loop, filters: FilterDriver, events: netlink.Socket) -> None:
    """Have the loop look at everything when someone else has changed the rules."""
    if drain(events) and not filters.is_ours():
        loop.suspect()


def notice_host(loop: Loop, taps: TapDriver, subports: SubportDriver, segments: SegmentDriver, news: LinkNews) -> None:
    """Have the loop look at what is joined to links of the host that have come, gone or changed, or lost the join."""
    beside = {**loop.wanted.host_links, **segments.beside(loop.wanted)}
    news.attend(beside)
    try:
        arrived = list(news.events.events())
    except netlink.NetlinkError:
        loop.suspect()
        return
    loop.suspect(key for kind, body in arrived if (key := taps.joined.get(redirect.lost_at(kind, body))))
    for driver in (subports, segments):
        loop.suspect(key for kind, body in arrived for key in driver.joined.get(redirect.lost_at(kind, body), ()))
    names = {links.name_of(body) for _, body in _about_links(arrived)}
    loop.suspect(key for key, links_of in beside.items() if not names.isdisjoint(links_of))


def drain(events: netlink.Socket) -> bool:
    """Take what has arrived; return whether anything has."""
    try:
        return bool(list(events.events()))
    except netlink.NetlinkError:
        return True


def _about_links(events: Iterable[tuple[int, bytes]]) -> Iterable[tuple[int, bytes]]:
    return ((kind, body) for kind, body in events if kind in (links.RTM_NEWLINK, links.RTM_DELLINK) and body[0] == 0)
