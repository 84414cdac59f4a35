# SPDX-License-Identifier: Apache-2.0
"""python-openstackclient, unmodified: commands for what joins networks, and for where their addresses come from."""

from __future__ import annotations

import pytest

from .conftest import CommandFailed, Openstack, names


def test_address_scopes_and_subnet_pools(openstack: Openstack) -> None:
    scope = openstack("address scope create inside --ip-version 4")
    openstack("address scope set inside --name site --share")
    assert openstack("address scope show site") == {**scope, "name": "site", "shared": True}
    assert names(openstack("address scope list --ip-version 4 --share")) == ["site"]
    pool = openstack(
        "subnet pool create p --pool-prefix 10.0.0.0/16 --default-prefix-length 24 --min-prefix-length 20"
        " --max-prefix-length 28 --default-quota 600 --address-scope site --share --default --description d --tag t"
    )
    assert (pool["prefixes"], pool["address_scope_id"], pool["default_quota"]) == (["10.0.0.0/16"], scope["id"], 600)
    openstack("network create red")
    assert openstack("subnet create a --network red --subnet-pool p")["cidr"] == "10.0.0.0/24"
    made = openstack("subnet create b --network red --use-default-subnet-pool --prefix-length 26")
    assert (made["cidr"], made["subnetpool_id"]) == ("10.0.1.0/26", pool["id"])
    wished = openstack("subnet create c --network red --subnet-pool p --subnet-range 10.0.9.0/28")
    assert wished["cidr"] == "10.0.9.0/28"
    with pytest.raises(CommandFailed, match="quota"):
        openstack("subnet create d --network red --subnet-pool p --prefix-length 23")
    openstack("subnet pool set p --name q --pool-prefix 10.1.0.0/16 --default-prefix-length 25 --no-default --tag u")
    openstack("subnet pool unset q --tag t")
    shown = openstack("subnet pool show q")
    assert (shown["prefixes"], shown["default_prefixlen"], shown["tags"]) == (["10.0.0.0/15"], 25, ["u"])
    assert names(openstack("subnet pool list --long --no-default --address-scope site --share")) == ["q"]
    assert names(openstack("subnet list --subnet-pool q")) == ["a", "b", "c"]
    with pytest.raises(CommandFailed, match="1 of 1 subnet pools failed to delete"):
        openstack("subnet pool delete q")
    openstack("subnet delete a b c")
    openstack("network delete red")
    openstack("subnet pool delete q")
    openstack("address scope delete site")


def test_a_pool_takes_in_subnets_of_a_network(openstack: Openstack) -> None:
    openstack("network create red")
    openstack("subnet create a --network red --subnet-range 10.0.0.0/24")
    pool = openstack("subnet pool create p --pool-prefix 10.9.0.0/16")["id"]
    openstack("subnet pool add network red p")
    assert openstack("subnet show a")["subnetpool_id"] == pool
    assert openstack("subnet pool show p")["prefixes"] == ["10.0.0.0/24", "10.9.0.0/16"]
    openstack("network delete red")
    openstack("subnet pool delete p")


def test_flavors_of_routers(openstack: Openstack) -> None:
    profile = openstack("network flavor profile create --driver centralized --description one")["id"]
    openstack(f"network flavor profile set {profile} --metainfo gold")
    shown = openstack(f"network flavor profile show {profile}")
    assert (shown["driver"], shown["meta_info"], shown["enabled"]) == ("centralized", "gold", True)
    flavor = openstack("network flavor create economy --service-type L3_ROUTER_NAT --description d")["id"]
    openstack(f"network flavor add profile economy {profile}")
    assert openstack("network flavor show economy")["service_profile_ids"] == [profile]
    made = openstack("router create held --flavor economy")
    assert (made["flavor_id"], made["distributed"]) == (flavor, False)
    with pytest.raises(CommandFailed, match="1 of 1 flavors failed to delete"):
        openstack("network flavor delete economy")
    openstack("router delete held")
    openstack("network flavor set economy --disable --name luxury")
    openstack(f"network flavor remove profile luxury {profile}")
    assert names(openstack("network flavor list")) == ["luxury"]
    openstack("network flavor delete luxury")
    openstack(f"network flavor profile delete {profile}")
    assert openstack("network flavor profile list") == []


def test_routers(openstack: Openstack) -> None:
    openstack("network create public --external")
    openstack("subnet create --network public --subnet-range 203.0.113.0/24 public4")
    openstack("network create inner")
    inside = openstack("subnet create --network inner --subnet-range 192.0.2.0/24 inner4")["id"]
    made = openstack("router create r --description d --tag t --external-gateway public --disable-snat")
    assert (made["tags"], made["external_gateway_info"]["enable_snat"]) == (["t"], False)
    openstack("router add subnet r inner4")
    openstack("router add route r --route destination=198.51.100.0/24,gateway=192.0.2.9")
    shown = openstack("router show r")
    assert [item["nexthop"] for item in shown["routes"]] == ["192.0.2.9"]
    assert [it["ip_address"] for it in shown["interfaces_info"] if it["subnet_id"] == inside] == ["192.0.2.1"]
    openstack("router set r --no-route")
    openstack("router set r --external-gateway public --fixed-ip ip-address=203.0.113.77 --disable --name s")
    openstack("router add gateway s public")
    assert openstack("router show s")["external_gateways"][0]["external_fixed_ips"][0]["ip_address"] == "203.0.113.77"
    openstack("router unset s --external-gateway")
    with pytest.raises(CommandFailed, match="has ports still attached"):
        openstack("router delete s")
    assert openstack("router list --disable --tags t --long")[0]["External gateway info"] is None
    openstack("router remove subnet s inner4")
    openstack("port create --network inner leg")
    openstack("router add port s leg")
    assert openstack("port show leg")["device_id"] == made["id"]
    openstack("router remove port s leg")
    openstack("router delete s")
    openstack("network delete inner public")


def test_floating_ips_and_port_forwardings(openstack: Openstack) -> None:
    openstack("network create outside --external")
    openstack("subnet create --network outside --subnet-range 198.51.100.0/24 outside4")
    openstack("network create within")
    openstack("subnet create --network within --subnet-range 192.0.2.0/24 within4")
    openstack("router create beyond --external-gateway outside")
    openstack("router add subnet beyond within4")
    openstack("port create --network within --fixed-ip ip-address=192.0.2.7 web")
    made = openstack("floating ip create outside --floating-ip-address 198.51.100.9 --port web --description d --tag t")
    assert (made["name"], made["fixed_ip_address"], made["tags"]) == ("198.51.100.9", "192.0.2.7", ["t"])
    openstack("floating ip unset --port 198.51.100.9")
    openstack("floating ip set --description e --no-tag 198.51.100.9")
    shown = openstack("floating ip show 198.51.100.9")
    assert (shown["port_id"], shown["description"], shown["tags"], shown["status"]) == (None, "e", [], "DOWN")
    pair = "--protocol tcp --internal-protocol-port 80 --external-protocol-port 8080"
    made = openstack(
        f"floating ip port forwarding create --internal-ip-address 192.0.2.7 --port web {pair} 198.51.100.9"
    )
    assert (made["external_port"], made["internal_port"]) == (8080, 80)
    [listed] = openstack("floating ip port forwarding list 198.51.100.9")
    assert (listed["ID"], listed["Internal IP Address"]) == (made["id"], "192.0.2.7")
    openstack(f"floating ip port forwarding set 198.51.100.9 {made['id']} --external-protocol-port 9000:9009")
    shown = openstack(f"floating ip port forwarding show 198.51.100.9 {made['id']}")
    assert (shown["external_port_range"], shown["internal_port_range"]) == ("9000:9009", "80:80")
    assert openstack("floating ip list --network outside --long")[0]["Floating IP Address"] == "198.51.100.9"
    with pytest.raises(CommandFailed, match="in use by Port Forwarding"):
        openstack("floating ip delete 198.51.100.9")
    openstack(f"floating ip port forwarding delete 198.51.100.9 {made['id']}")
    openstack("floating ip delete 198.51.100.9")
    openstack("router remove subnet beyond within4")
    openstack("router delete beyond")
    openstack("port delete web")
    openstack("network delete within outside")


def test_bgp_speakers_and_peers(openstack: Openstack) -> None:
    openstack("network create outside")
    made = openstack(
        "bgp speaker create --local-as 4200000000 --ip-version 4 --no-advertise-floating-ip-host-routes racks"
    )
    assert (made["local_as"], made["advertise_floating_ip_host_routes"]) == (4200000000, False)
    openstack("bgp peer create --peer-ip 192.0.2.1 --remote-as 65001 --auth-type md5 --password secret tor")
    openstack("bgp peer set tor --name top")
    openstack("bgp speaker set racks --name hosts --no-advertise-tenant-networks")
    openstack("bgp speaker add peer hosts top")
    openstack("bgp speaker add network hosts outside")
    shown = openstack("bgp speaker show hosts")
    assert (len(shown["peers"]), len(shown["networks"]), shown["advertise_tenant_networks"]) == (1, 1, False)
    assert openstack("bgp speaker list advertised routes hosts") == []
    assert names(openstack("bgp speaker list")) == ["hosts"]
    assert [row["Peer IP"] for row in openstack("bgp peer list")] == ["192.0.2.1"]
    assert "password" not in openstack("bgp peer show top")
    openstack("bgp speaker remove network hosts outside")
    openstack("bgp speaker remove peer hosts top")
    openstack("bgp speaker delete hosts")
    openstack("bgp peer delete top")
    openstack("network delete outside")
