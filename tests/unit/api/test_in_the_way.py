# SPDX-License-Identifier: Apache-2.0
"""What keeps a request about routers, floating IPs, port forwardings or trunks from being done is named in the answer.

Types and codes are Neutron's; its messages often name only what was asked for.
"""

from __future__ import annotations

import pytest

from .asker import Answer, Asker, Row, addresses
from .floating import GATEWAY, Site


@pytest.fixture
def site(api: Asker) -> Site:
    return Site(api)


def port_of(site: Site, owner: Row) -> Row:
    """Return the one port of a router or a floating IP that is not its gateway."""
    found = site.api.list("ports", f"device_id={owner['id']}")
    (row,) = [each for each in found if each["device_owner"] != "network:router_gateway"]
    return row


def check(answer: Answer, code: int, kind: str, *named: str) -> None:
    assert answer.error == (code, kind), answer
    assert [each for each in named if each not in answer.message] == [], answer.message


def test_what_a_router_is_needed_for_is_named(site: Site) -> None:
    api, router = site.api, site.router
    inside = site.inside["subnets"][0]
    leg = port_of(site, router)
    overlapping = api.network("10.0.0.128/25")["subnets"][0]
    overlap = site.interface(router, "add", overlapping)
    check(overlap, 400, "BadRequest", overlapping, "10.0.0.128/25", inside, "10.0.0.0/24")
    check(site.interface(site.new_router(), "add", inside), 409, "IpAddressAlreadyAllocated", "10.0.0.1", leg["id"])
    check(api.try_delete("routers", router), 409, "RouterInUse", router["id"], leg["id"])
    check(api.try_delete("subnets", inside), 409, "SubnetInUse", inside, leg["id"])
    check(api.try_delete("networks", site.inside), 409, "NetworkInUse", leg["id"])
    check(api.try_update("subnets", inside, gateway_ip=None), 409, "GatewayIpInUse", "10.0.0.1", leg["id"])
    check(api.try_delete("ports", leg), 409, "ServicePortInUse", leg["id"], router["id"])
    api.update("routers", router, routes=[{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}])
    lost = site.interface(router, "remove", inside)
    check(lost, 409, "RouterInterfaceInUseByRoute", router["id"], inside, "10.9.0.0/16 by 10.0.0.9")


def test_next_hops_that_nobody_can_be_are_refused_with_the_reason(site: Site) -> None:
    leg = port_of(site, site.router)
    site.interface(site.router, "add", site.api.network("2001:db8:7::/64")["subnets"][0])
    for destination, hop, named in (
        ("10.9.0.0/16", "10.7.0.1", (site.router["id"], "10.0.0.0/24", "198.51.100.0/24")),
        ("10.9.0.0/16", "10.0.0.1", (site.router["id"], leg["id"])),
        ("10.9.0.0/16", "10.0.0.0", ("no host's address in 10.0.0.0/24",)),
        ("10.9.0.0/16", "10.0.0.255", ("no host's address in 10.0.0.0/24",)),
        ("2001:db8:9::/48", "2001:db8:7::", ("no host's address in 2001:db8:7::/64",)),
        ("2001:db8:9::/48", "10.0.0.9", ("IP versions",)),
    ):
        answer = site.api.try_update("routers", site.router, routes=[{"destination": destination, "nexthop": hop}])
        check(answer, 400, "InvalidRoutes", destination, hop, *named)


def test_next_hops_of_ipv6_are_not_reached_by_routes(site: Site) -> None:
    site.interface(site.router, "add", site.api.network("2001:db8:7::/64")["subnets"][0])
    beyond = {"destination": "2001:db8:9::/48", "nexthop": "2001:db8:7::9"}
    for destination, hop in (("2001:db8:7::9/128", "2001:db8:7::9"), ("2001:db8:7::8/125", "2001:db8:7::2")):
        routes = [{"destination": destination, "nexthop": hop}, beyond]
        answer = site.api.try_update("routers", site.router, routes=routes)
        check(answer, 400, "InvalidRoutes", destination, hop, "it must be on 2001:db8:7::/64")
    plain = [{"destination": "10.0.0.8/29", "nexthop": "10.0.0.9"}, {"destination": "::/0", "nexthop": "2001:db8:7::9"}]
    site.api.update("routers", site.router, routes=[*plain, beyond])


def test_what_a_floating_ip_is_needed_for_is_named(site: Site) -> None:
    api, web = site.api, site.api.port(site.inside)
    [own] = addresses(web)
    taken, free = site.floating(port_id=web["id"]), site.floating()
    address = taken["floating_ip_address"]
    both = (address, own, web["id"])
    again = site.try_floating(port_id=web["id"])
    check(again, 409, "FloatingIPPortAlreadyAssociated", site.outside["id"], *both)
    check(site.try_floating(floating_ip_address=address), 409, "IpAddressAlreadyAllocated", address)
    other = api.network("203.0.113.0/24", **{"router:external": True})
    wrong = api.try_create("floatingips", floating_network_id=other["id"], port_id=web["id"])
    check(wrong, 404, "ExternalGatewayForFloatingIPNotFound", other["id"], web["id"], site.inside["subnets"][0])
    lost = site.interface(site.router, "remove", site.inside["subnets"][0])
    check(lost, 409, "RouterInterfaceInUseByFloatingIP", address, web["id"])
    shut = api.try_update("routers", site.router, **{GATEWAY: None})
    check(shut, 409, "RouterExternalGatewayInUseByFloatingIp", address, site.outside["id"])
    db = api.port(site.inside)
    check(site.forward(taken, db, 80, 80), 409, "FloatingIPPortAlreadyAssociated", *both)
    check(site.forward(free, web, 80, 80), 409, "PortHasBindingFloatingIP", address, web["id"])
    own_port = port_of(site, taken)
    check(api.try_delete("ports", own_port), 409, "ServicePortInUse", own_port["id"], taken["id"])


def test_the_port_forwardings_of_a_floating_ip_are_named_but_not_without_end(site: Site) -> None:
    db, free = site.api.port(site.inside), site.floating()
    first = site.forward(free, db, 79, 79).body["port_forwarding"]
    clash = site.forward(free, site.api.port(site.inside), 79, 80)
    check(clash, 400, "BadRequest", "79:79", first["id"], free["id"], db["id"])
    assert site.api.try_delete(site.path(free), first).status == 204
    made = [site.forward(free, db, port, port).body["port_forwarding"]["id"] for port in (80, 81)]
    for answer in (
        site.api.try_delete("floatingips", free),
        site.api.try_update("floatingips", free, port_id=db["id"]),
    ):
        check(answer, 409, "FipInUseByPortForwarding", free["id"], *made)
    made += [site.forward(free, db, port, port).body["port_forwarding"]["id"] for port in range(82, 87)]
    answer = site.api.try_delete("floatingips", free)
    check(answer, 409, "FipInUseByPortForwarding", "and 2 more")
    assert sum(each in answer.message for each in made) == 5


def test_the_trunk_that_has_a_port_is_named(api: Asker) -> None:
    own, sub = (api.port(api.create("networks")) for _ in range(2))
    item = {"port_id": sub["id"], "segmentation_type": "vlan", "segmentation_id": 7}
    trunk = api.create("trunks", port_id=own["id"], sub_ports=[item])
    check(api.try_create("trunks", port_id=own["id"]), 409, "ParentPortInUse", own["id"], trunk["id"])
    check(api.try_create("trunks", port_id=sub["id"]), 409, "TrunkPortInUse", sub["id"], trunk["id"])
