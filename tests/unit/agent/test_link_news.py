# SPDX-License-Identifier: Apache-2.0
"""Which messages about the host's links reach the agent: the kernel runs the filter, on a socket that needs no root."""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.agent import links, netlink, owner
from portico.agent.delta import Wanted
from portico.agent.link_news import MAX_NAMES, attach, program
from portico.hoststate import Bridge, HostObject, Outlet, Uplink, Vif

NAMES = st.text("ab-", min_size=1, max_size=15)


def message(kind: int, *attributes: bytes, family: int = socket.AF_UNSPEC) -> bytes:
    body = struct.pack("=BxHiII", family, 1, 7, 0, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def about(name: str, kind: int = links.RTM_NEWLINK, **more: int) -> bytes:
    return message(kind, netlink.text(links.IFLA_IFNAME, name), netlink.u32(4, 1500), **more)


def taken(names: Collection[str], *messages: bytes) -> list[bytes]:
    """Return which messages pass the filter for `names`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for _ in range(2):  # the second one while the first one is in force
            attach(ours.setsockopt, program(names))
        for one in messages:
            theirs.send(one)
        theirs.close()
        found = []
        while data := ours.recv(4096):
            found.append(data)
        return found


@settings(max_examples=100, deadline=None)
@given(names=st.sets(NAMES, max_size=4), others=st.lists(NAMES, max_size=4))
def test_links_are_told_of_by_their_whole_name_alone(names: set[str], others: list[str]) -> None:
    messages = {
        about(name, kind): name for name in [*names, *others] for kind in (links.RTM_NEWLINK, links.RTM_DELLINK)
    }
    assert taken(names, *messages) == [text for text, name in messages.items() if name in names]


def test_what_is_no_news_of_a_link_or_begins_otherwise_is_told_always() -> None:
    others = [message(36), message(44, netlink.text(1, "bpf")), message(links.RTM_NEWLINK, netlink.u32(4, 1500))]
    assert taken((), about("eth0"), *others) == others
    assert taken(("eth0",), about("eth0", family=socket.AF_BRIDGE)) == []


def test_more_names_than_a_filter_takes_are_all_told_of() -> None:
    most = [f"tap{number:012d}" for number in range(MAX_NAMES)]
    assert taken(most, about(most[-1]), about("eth0")) == [about(most[-1])]
    assert taken([*most, "one-more"], about("eth0")) == [about("eth0")]


def test_objects_name_the_links_that_they_depend_on_as_long_as_they_are_wanted() -> None:
    wanted = Wanted()
    uplink = Uplink("n", 1500, ("192.0.2.1/24",))
    outlet = Outlet("o", "02:00:00:00:00:02", 1500, way="bridge", device="tap-o", bridge="br-int")
    vif = Vif("v", "n", "02:00:00:00:00:01", 1500, "pv-v")
    objects: list[HostObject] = [Bridge("n", 1500), vif, uplink, outlet]
    wanted.change(objects, ())
    assert wanted.host_links == {
        uplink.key: frozenset({owner.uplink_host_link("n")}),
        "outlet/o": frozenset({"tap-o", "br-int"}),
    }
    tap = msgspec.structs.replace(vif, plug="tap", tap_name="tap-v")
    wanted.change([tap], [uplink.key, "outlet/o"])
    assert wanted.host_links == {"vif/v": frozenset({"tap-v"})}
    wanted.change([vif], ())
    assert wanted.host_links == {}
