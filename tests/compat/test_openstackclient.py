# SPDX-License-Identifier: Apache-2.0
"""python-openstackclient, unmodified: commands for networks, ports, their filters and what the server has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from portico.client import Client

from .conftest import TIMEOUT_S, CommandFailed, Openstack, names


def test_the_installed_command_itself_lists_in_plain_words(endpoint: str, openstack: Openstack) -> None:
    openstack("network create plain")
    command = [str(Path(sys.executable).parent / "openstack"), "--os-auth-type", "none", "--os-endpoint", endpoint]
    words = ["network", "list", "--name", "plain", "-f", "value", "-c", "Name"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (done.returncode, done.stdout) == (0, "plain\n"), done.stderr
    openstack("network delete plain")


def test_networks(openstack: Openstack) -> None:
    made = openstack("network create blue --mtu 1400 --description sea --tag t --tag u --dns-domain blue.example.")
    assert (made["name"], made["mtu"], made["dns_domain"]) == ("blue", 1400, "blue.example.")
    assert (made["status"], made["provider:network_type"]) == ("ACTIVE", "local")
    openstack("network create green --external --disable-port-security --availability-zone-hint default --share")
    openstack("network set blue --disable --share --name sky --mtu 1300 --no-tag --tag v --description air")
    shown = openstack("network show sky")
    assert (shown["id"], shown["tags"], shown["description"]) == (made["id"], ["v"], "air")
    assert (shown["admin_state_up"], shown["shared"], shown["mtu"]) == (False, True, 1300)
    openstack("network set sky --tag w --enable --no-share")
    openstack("network unset sky --tag v")
    assert openstack("network show sky")["tags"] == ["w"]
    openstack("network unset sky --all-tag")
    assert openstack("network show sky")["tags"] == []
    shown = openstack("network show green")
    assert (shown["router:external"], shown["port_security_enabled"]) == (True, False)
    assert shown["availability_zone_hints"] == ["default"]
    assert names(openstack("network list --external")) == ["green"]
    assert names(openstack("network list --internal")) == ["sky"]
    assert names(openstack("network list --share")) == ["green"]
    local = names(openstack("network list --long --enable --status ACTIVE --provider-network-type local"))
    assert local == ["green", "sky"]
    with pytest.raises(CommandFailed, match="No Network found for blue"):
        openstack("network show blue")
    openstack("network delete sky green")
    assert openstack("network list") == []


def test_tags_are_filters_of_every_list(openstack: Openstack) -> None:
    openstack("network create one --tag a --tag b")
    openstack("network create two --tag b")
    openstack("network create none")
    assert names(openstack("network list --tags a,b")) == ["one"]
    assert names(openstack("network list --any-tags a,b")) == ["one", "two"]
    assert names(openstack("network list --not-tags a,b")) == ["none", "two"]
    assert names(openstack("network list --not-any-tags a,b")) == ["none"]
    openstack("network delete one two none")


def test_subnets(openstack: Openstack) -> None:
    network = openstack("network create blue")
    made = openstack(
        "subnet create blue4 --network blue --subnet-range 192.0.2.0/24 --gateway 192.0.2.254"
        " --allocation-pool start=192.0.2.10,end=192.0.2.20 --dns-nameserver 192.0.2.53"
        " --host-route destination=198.51.100.0/24,gateway=192.0.2.9 --description d --tag x"
    )
    assert (made["network_id"], made["gateway_ip"], made["enable_dhcp"]) == (network["id"], "192.0.2.254", True)
    openstack(
        "subnet create blue6 --network blue --ip-version 6 --subnet-range 2001:db8::/64"
        " --ipv6-ra-mode slaac --ipv6-address-mode slaac --gateway none"
    )
    openstack(
        "subnet set blue4 --name four --no-dhcp --gateway none --tag y --dns-nameserver 192.0.2.54"
        " --allocation-pool start=192.0.2.30,end=192.0.2.40 --host-route destination=203.0.113.0/24,gateway=192.0.2.9"
    )
    shown = openstack("subnet show four")
    assert (shown["gateway_ip"], shown["enable_dhcp"], shown["tags"]) == (None, False, ["x", "y"])
    assert sorted(shown["dns_nameservers"]) == ["192.0.2.53", "192.0.2.54"]
    assert len(shown["allocation_pools"]) == len(shown["host_routes"]) == 2
    openstack(
        "subnet unset four --tag x --dns-nameserver 192.0.2.53 --allocation-pool start=192.0.2.10,end=192.0.2.20"
        " --host-route destination=198.51.100.0/24,gateway=192.0.2.9"
    )
    shown = openstack("subnet show four")
    assert (shown["tags"], shown["dns_nameservers"]) == (["y"], ["192.0.2.54"])
    assert shown["allocation_pools"] == [{"start": "192.0.2.30", "end": "192.0.2.40"}]
    assert shown["host_routes"] == [{"destination": "203.0.113.0/24", "nexthop": "192.0.2.9"}]
    assert names(openstack("subnet list --network blue --long")) == ["blue6", "four"]
    assert names(openstack("subnet list --ip-version 6 --dhcp")) == ["blue6"]
    assert names(openstack("subnet list --no-dhcp --subnet-range 192.0.2.0/24")) == ["four"]
    with pytest.raises(CommandFailed, match=r"192\.0\.2\.0/24"):
        openstack("subnet create again --network blue --subnet-range 192.0.2.128/25")
    openstack("subnet delete four blue6")
    openstack("network delete blue")


def test_ports(openstack: Openstack) -> None:
    openstack("network create blue")
    subnet = openstack("subnet create blue4 --network blue --subnet-range 192.0.2.0/24")["id"]
    openstack("security group create web")
    port = openstack(
        "port create web --network blue --fixed-ip subnet=blue4,ip-address=192.0.2.15 --mac-address fa:16:3e:01:02:03"
        " --device d1 --device-owner compute:nova --host h1 --vnic-type normal --binding-profile a=b --dns-name web"
        " --extra-dhcp-option name=mtu,value=1300,ip-version=4 --allowed-address ip-address=192.0.2.99"
        " --security-group web --disable --description d --tag x"
    )
    assert port["fixed_ips"] == [{"subnet_id": subnet, "ip_address": "192.0.2.15"}]
    assert (port["binding_vif_type"], port["binding_host_id"], port["binding_profile"]) == ("tap", "h1", {"a": "b"})
    assert port["allowed_address_pairs"] == [{"ip_address": "192.0.2.99", "mac_address": "fa:16:3e:01:02:03"}]
    assert port["extra_dhcp_opts"] == [{"opt_name": "mtu", "opt_value": "1300", "ip_version": 4}]
    openstack(
        "port set web --name www --enable --fixed-ip subnet=blue4,ip-address=192.0.2.16 --binding-profile c=d"
        " --no-allowed-address --data-plane-status ACTIVE --security-group default --tag y"
    )
    shown = openstack("port show www")
    assert (shown["admin_state_up"], shown["allowed_address_pairs"], shown["tags"]) == (True, [], ["x", "y"])
    assert (shown["data_plane_status"], shown["binding_profile"]) == ("ACTIVE", {"a": "b", "c": "d"})
    assert len(shown["fixed_ips"]) == len(shown["security_group_ids"]) == 2
    assert names(openstack("port list --network blue --device-owner compute:nova --long")) == ["www"]
    assert names(openstack("port list --fixed-ip ip-address=192.0.2.16")) == ["www"]
    assert names(openstack("port list --mac-address fa:16:3e:01:02:03 --tags x,y")) == ["www"]
    openstack(
        "port unset www --fixed-ip subnet=blue4,ip-address=192.0.2.15 --security-group web --binding-profile a --tag x"
        " --data-plane-status --host --device --device-owner"
    )
    shown = openstack("port show www")
    assert shown["fixed_ips"] == [{"subnet_id": subnet, "ip_address": "192.0.2.16"}]
    assert (shown["binding_profile"], shown["tags"], shown["data_plane_status"]) == ({"c": "d"}, ["y"], None)
    assert (shown["binding_vif_type"], shown["device_id"], shown["device_owner"]) == ("unbound", "", "")
    assert len(shown["security_group_ids"]) == 1
    with pytest.raises(CommandFailed, match=port["id"]):
        openstack("network delete blue")
    openstack("port set www --no-security-group --disable-port-security")
    bare = openstack("port create bare --network blue --no-fixed-ip --no-security-group --disable-port-security")
    assert (bare["fixed_ips"], bare["security_group_ids"], bare["port_security_enabled"]) == ([], [], False)
    with pytest.raises(CommandFailed, match="1 of 3 ports failed to delete"):
        openstack("port delete www bare nobody")
    openstack("security group delete web")
    openstack("network delete blue")


def test_security_groups_and_rules(openstack: Openstack) -> None:
    made = openstack("security group create web --description x --stateless --tag a")
    assert made["stateful"] is False and len(made["rules"]) == 2
    openstack("address group create lan --address 192.0.2.0/24")
    rule = openstack(
        "security group rule create web --protocol tcp --dst-port 80:90 --remote-ip 192.0.2.0/24 --description d"
    )
    assert (rule["port_range_min"], rule["port_range_max"], rule["direction"]) == (80, 90, "ingress")
    assert openstack(f"security group rule show {rule['id']}") == rule
    ping = openstack("security group rule create web --protocol icmp --icmp-type 8 --remote-group web --egress")
    assert (ping["remote_group_id"], ping["port_range_min"], ping["remote_ip_prefix"]) == (made["id"], 8, None)
    of_group = openstack("security group rule create web --protocol udp --dst-port 53 --remote-address-group lan")
    assert of_group["remote_address_group_id"]
    six = openstack("security group rule create web --ethertype IPv6 --protocol ipv6-icmp")
    assert (six["ether_type"], six["remote_ip_prefix"]) == ("IPv6", "::/0")
    with pytest.raises(CommandFailed, match=rule["id"]):
        openstack("security group rule create web --protocol tcp --dst-port 80:90 --remote-ip 192.0.2.0/24")
    assert len(openstack("security group rule list web")) == 6
    assert [row["ID"] for row in openstack("security group rule list web --ingress --protocol tcp")] == [rule["id"]]
    openstack("security group set web --name shop --stateful --tag b")
    openstack("security group unset shop --tag a")
    shown = openstack("security group show shop")
    assert (shown["id"], shown["stateful"], shown["tags"], len(shown["rules"])) == (made["id"], True, ["b"], 6)
    assert names(openstack("security group list")) == ["default", "shop"]
    openstack(f"security group rule delete {rule['id']} {ping['id']}")
    with pytest.raises(CommandFailed, match="in use"):
        openstack("address group delete lan")
    openstack("security group delete shop")
    openstack("address group delete lan")


def test_address_groups(openstack: Openstack) -> None:
    made = openstack("address group create lan --description d --address 192.0.2.0/24 --address 198.51.100.7")
    assert made["addresses"] == ["192.0.2.0/24", "198.51.100.7/32"]
    openstack("address group set lan --name home --address 2001:db8::/64")
    openstack("address group unset home --address 198.51.100.7")
    assert openstack("address group show home")["addresses"] == ["192.0.2.0/24", "2001:db8::/64"]
    assert names(openstack("address group list --name home")) == ["home"]
    openstack("address group delete home")
    assert openstack("address group list") == []


def test_subnets_for_some_kinds_of_ports(openstack: Openstack) -> None:
    openstack("network create red")
    openstack("subnet create vms --network red --subnet-range 10.0.0.0/24 --service-type compute:nova")
    openstack("subnet create rest --network red --subnet-range 10.0.1.0/24")
    openstack("subnet set vms --service-type compute:x")
    openstack("subnet unset vms --service-type compute:x")
    assert openstack("subnet show vms")["service_types"] == ["compute:nova"]
    vm = openstack("port create vm --network red --device-owner compute:nova")
    other = openstack("port create other --network red")
    assert [port["fixed_ips"][0]["ip_address"] for port in (vm, other)] == ["10.0.0.2", "10.0.1.2"]
    openstack("port delete vm other")
    openstack("network delete red")


def test_rules_that_new_security_groups_begin_with(openstack: Openstack) -> None:
    words = "--protocol tcp --dst-port 22 --remote-ip 192.0.2.0/24 --for-custom-sg"
    rule = openstack(f"default security group rule create {words}")
    assert (rule["port_range_max"], rule["used_in_default_sg"], rule["used_in_non_default_sg"]) == (22, False, True)
    assert openstack(f"default security group rule show {rule['id']}") == rule
    assert rule["id"] in {row["ID"] for row in openstack("default security group rule list --ingress --protocol tcp")}
    made = openstack("security group create web")
    (begun,) = [item for item in made["rules"] if item["direction"] == "ingress"]
    assert (begun["protocol"], begun["port_range_min"], begun["remote_ip_prefix"]) == ("tcp", 22, "192.0.2.0/24")
    openstack("security group delete web")
    openstack(f"default security group rule delete {rule['id']}")


def test_rbac(openstack: Openstack) -> None:
    network = openstack("network create blue")
    made = openstack("network rbac create --type network --action access_as_shared --target-all-projects blue")
    assert (made["object_id"], made["target_project_id"]) == (network["id"], "*")
    assert openstack("network show blue")["shared"] is True
    assert openstack(f"network rbac show {made['id']}") == made
    (listed,) = openstack("network rbac list --type network --action access_as_shared --long")
    assert (listed["ID"], listed["Object ID"]) == (made["id"], network["id"])
    openstack(f"network rbac delete {made['id']}")
    assert openstack("network show blue")["shared"] is False
    openstack("network delete blue")


def test_segments_and_ip_availability(openstack: Openstack) -> None:
    network = openstack("network create blue")
    openstack("subnet create blue4 --network blue --subnet-range 192.0.2.0/24")
    openstack("port create p --network blue")
    (segment,) = openstack("network segment list --network blue")
    openstack(f"network segment set {segment['ID']} --name rack --description d")
    shown = openstack("network segment show rack")
    assert (shown["network_id"], shown["network_type"], shown["description"]) == (network["id"], "local", "d")
    (counted,) = openstack("ip availability list --ip-version 4")
    assert (counted["Network Name"], counted["Total IPs"], counted["Used IPs"]) == ("blue", 253, 1)
    assert openstack("ip availability show blue")["total_ips"] == 253
    openstack("port delete p")
    openstack("network delete blue")


def test_what_the_server_offers(openstack: Openstack) -> None:
    aliases = {row["Alias"] for row in openstack("extension list --network --long")}
    assert {"security-group", "binding", "quotas", "standard-attr-tag"} <= aliases
    assert openstack("extension show binding")["alias"] == "binding"
    assert [row["Zone Name"] for row in openstack("availability zone list --network --long")] == ["default"]
    offered = [row["Name"] for row in openstack("network service provider list")]
    assert offered == ["by-networks", "centralized", "distributed"]


def test_agents(openstack: Openstack, endpoint: str) -> None:
    assert openstack("network agent list") == []
    with Client(endpoint) as client:
        report = {"revision": 0, "facts": {"availability_zone": "default"}, "started": True}
        client.put_json("/portico/v1/hosts/h1/status", report)
    (listed,) = openstack("network agent list --host h1 --long")
    assert (listed["Host"], listed["Alive"], listed["State"]) == ("h1", True, True)
    openstack(f"network agent set {listed['ID']} --disable --description 'in repair'")
    shown = openstack(f"network agent show {listed['ID']}")
    assert (shown["admin_state_up"], shown["description"], shown["host"]) == (False, "in repair", "h1")
    with Client(endpoint) as client:
        client.delete("agents", listed["ID"])
