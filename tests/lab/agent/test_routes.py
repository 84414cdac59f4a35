# SPDX-License-Identifier: Apache-2.0
"""Routes in a kernel: what is there already, and what of it may be replaced."""

from __future__ import annotations

import errno

import pytest

from portico.agent import kernel, netlink
from portico.agent.links import Links
from portico.agent.routes import Route, Routes


@pytest.mark.parametrize("net", ["192.0.2.1/32", "192.0.2.0/28", "2001:db8::1/128"])
def test_a_route_is_made_once_and_takes_anothers_place_only_if_it_may(net: str) -> None:
    def work() -> None:
        with netlink.Socket(netlink.ROUTE) as one, netlink.Socket(netlink.ROUTE) as two:
            look(Links(one), Routes(two))

    def look(links: Links, routes: Routes) -> None:
        indexes = []
        for name in ("one", "two"):
            links.add_bridge(name, "02:00:00:00:00:01", 1500)
            found = links.find(name)
            assert found is not None and links.at(found.index) == found
            indexes.append(found.index)
        assert links.find("three") is None and links.at(99) is None and routes.find(net) is None
        one, two = (Route(net, index) for index in indexes)
        routes.put(one, instead=False)
        routes.put(one, instead=False)
        routes.put(one, instead=True)
        assert routes.find(net) == one and routes.all() == [one]
        with pytest.raises(netlink.NetlinkError) as refused:
            routes.put(two, instead=False)
        assert refused.value.errno == errno.EEXIST and routes.all() == [one]
        routes.put(two, instead=True)
        assert routes.find(net) == two and routes.all() == [two]
        routes.remove(one)
        routes.remove(two)
        assert routes.all() == []

    kernel.apart(work)
