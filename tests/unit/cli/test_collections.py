# SPDX-License-Identifier: Apache-2.0
"""The commands of collections, against a real API."""

from __future__ import annotations

import csv
import io

import pytest
import yaml

from portico.cli.main import RENAMED
from portico.model.load import load

from .conftest import Portico


def test_every_resource_of_the_registry_has_its_verbs_as_commands(portico: Portico) -> None:
    for resource in load().resources.values():
        name = RENAMED.get(resource.name, resource.name).replace("_", "-")
        for verb in resource.verbs:
            word = "set" if verb == "update" else verb
            done = portico(name, word, "--help")
            assert f"usage: portico {name} {word}" in done.out, done.err
        if resource.parent is None:
            assert portico(name, "list", "-f", "json").json is not None


def test_create_takes_the_name_without_an_option_and_show_takes_name_or_id(portico: Portico) -> None:
    made = portico("network", "create", "blue", "--mtu", "1400", "--no-port-security-enabled", "-f", "json").json
    assert (made["name"], made["mtu"], made["port_security_enabled"]) == ("blue", 1400, False)
    assert portico("network", "show", "blue", "-f", "json").json == made
    assert portico("network", "show", made["id"], "-f", "json").json == made
    assert portico("network", "delete", "blue").code == 0


def test_a_subnet_is_given_by_its_cidr_and_its_ip_version_follows(portico: Portico, network: str) -> None:
    words = ("--network", network, "2001:db8::/64", "--ipv6-address-mode", "slaac", "--ipv6-ra-mode", "slaac")
    made = portico("subnet", "create", *words, "-f", "json").json
    assert (made["cidr"], made["ip_version"], made["ipv6_address_mode"]) == ("2001:db8::/64", 6, "slaac")


def test_nested_values_are_written_as_pairs_with_names_for_ids(portico: Portico, network: str) -> None:
    fixed = f"subnet={network}4,ip-address=10.1.0.9"
    made = portico("port", "create", "web", "--network", network, "--fixed-ip", fixed, "-f", "json").json
    [address] = made["fixed_ips"]
    assert address["ip_address"] == "10.1.0.9"
    found = portico(
        "port", "list", "--fixed-ip", "ip-address=10.1.0.9", "--network", network, "-f", "value", "-c", "name"
    )
    assert found.out == "web\n"


def test_nested_values_are_written_as_json_too(portico: Portico, network: str) -> None:
    pairs = '{"ip_address": "192.0.2.1", "mac_address": "02:00:00:00:00:01"}'
    made = portico("port", "create", "--network", network, "--allowed-address-pair", pairs, "-f", "json").json
    assert made["allowed_address_pairs"] == [{"ip_address": "192.0.2.1", "mac_address": "02:00:00:00:00:01"}]


def test_a_dictionary_and_a_value_with_a_comma(portico: Portico, network: str) -> None:
    words = (
        "--binding-profile",
        "plug=tap,make_tap=true",
        "--extra-dhcp-opt",
        "opt-name=42,opt-value=192.0.2.1,192.0.2.2",
    )
    made = portico("port", "create", "--network", network, *words, "-f", "json").json
    assert made["binding:profile"] == {"plug": "tap", "make_tap": True}
    assert [option["opt_value"] for option in made["extra_dhcp_opts"]] == ["192.0.2.1,192.0.2.2"]


def test_set_changes_what_is_given_and_no_option_empties(portico: Portico, network: str) -> None:
    portico("port", "create", "a", "--network", network, "--device-id", "d", "--tag", "x")
    words = ("--name", "b", "--no-security-group", "--no-admin-state-up", "--tag", "y", "--tag", "z")
    changed = portico("port", "set", "a", *words, "-f", "json").json
    assert (changed["name"], changed["security_groups"], changed["admin_state_up"]) == ("b", [], False)
    assert (changed["tags"], changed["device_id"]) == (["y", "z"], "d")
    assert portico("subnet", "set", f"{network}4", "--no-gateway-ip", "-f", "json").json["gateway_ip"] is None


def test_groups_are_named_and_may_be_several(portico: Portico, network: str) -> None:
    for name in ("web", "db"):
        portico("security-group", "create", name)
    made = portico(
        "port", "create", "--network", network, "--security-group", "web", "--security-group", "db", "-f", "json"
    )
    assert len(made.json["security_groups"]) == 2
    words = ("--security-group", "web", "--remote-group", "db", "--direction", "ingress", "--protocol", "tcp")
    rule = portico(
        "security-group-rule", "create", *words, "--port-range-min", "80", "--port-range-max", "80", "-f", "json"
    )
    assert (rule.json["port_range_min"], rule.json["protocol"]) == (80, "tcp")
    portico("port", "delete", made.json["id"])
    assert portico("security-group", "delete", "web", "db").err == ""


def test_a_quota_is_set_for_a_project(portico: Portico) -> None:
    assert portico("quota", "set", "someone", "--network", "7", "-f", "json").json["network"] == 7
    assert portico("quota", "show", "someone", "-f", "json").json["network"] == 7
    assert portico("quota", "delete", "someone").code == 0


def test_a_list_has_five_forms_and_chosen_columns(portico: Portico, network: str) -> None:
    words = ("network", "list", "--name", network, "-c", "name", "-c", "mtu", "-f")
    assert portico(*words, "json").json == [{"name": network, "mtu": 1500}]
    assert yaml.safe_load(portico(*words, "yaml").out) == [{"name": network, "mtu": 1500}]
    assert list(csv.reader(io.StringIO(portico(*words, "csv").out))) == [["name", "mtu"], [network, "1500"]]
    assert portico(*words, "value").out == f"{network} 1500\n"
    assert [line.split() for line in portico(*words, "table").out.splitlines()] == [["NAME", "MTU"], [network, "1500"]]


def test_a_list_is_sorted(portico: Portico, network: str) -> None:
    for name in ("b", "c", "a"):
        portico("port", "create", name, "--network", network)
    words = ("port", "list", "--network", network, "-f", "value", "-c", "name", "--sort")
    assert portico(*words, "name:desc").out.split() == ["c", "b", "a"]
    assert portico(*words, "name").out.split() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("network", "show", "nowhere"), "portico: no network has the name or id 'nowhere'\n"),
        (("network", "list", "-c", "colour"), "-c colour: a network has only admin_state_up,"),
        (("network", "set", "x"), "network x: nothing to set was given"),
        (("network", "create", "x", "--mtu", "big"), "'big' is not an integer"),
        (("port", "create", "--network", "nowhere"), "no network has the name or id 'nowhere'"),
        (("network", "create", "x", "--availability-zone-hint", "["), "--availability-zone-hint '[': is not JSON"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(portico: Portico, words: tuple[str, ...], message: str) -> None:
    done = portico(*words)
    assert done.code == 1
    assert message in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_a_filter_that_is_repeated_asks_for_any_of_its_values(portico: Portico, network: str) -> None:
    for name in ("a", "b", "c"):
        portico("port", "create", name, "--network", network, "--mac-address", f"02:00:00:00:00:0{name}")
    words = ("port", "list", "--network", network, "-f", "value", "-c", "name", "--sort", "name")
    assert portico(*words, "--name", "a", "--name", "c").out.split() == ["a", "c"]
    macs = ("--mac-address", "02:00:00:00:00:0b", "--mac-address", "02:00:00:00:00:0c")
    assert portico(*words, *macs).out.split() == ["b", "c"]
    assert portico(*words, *macs, "--name", "a", "--name", "c", "--admin-state-up").out.split() == ["c"]
    assert portico("port", "list", "--network", network, "--network", "nowhere").code == 1


@pytest.mark.parametrize("option", ["--no-gateway-ip", "--no-name", "--no-network"])
def test_a_list_takes_no_option_that_it_would_pass_over(portico: Portico, option: str) -> None:
    done = portico("subnet", "list", option)
    assert (done.code, done.out) == (2, "") and option in done.err


@pytest.mark.parametrize(("prefix", "version"), [("10.9.0.0/16", 4), ("2001:db8:9::/48", 6)])
def test_the_ip_version_of_a_subnet_follows_from_its_pool(
    portico: Portico, network: str, prefix: str, version: int
) -> None:
    other = portico("network", "create", f"{network}-pool", "-f", "json").json["id"]
    words = ("--prefix", prefix, "--default-prefixlen", "64" if version == 6 else "24")
    pool = portico("subnetpool", "create", f"pool{version}", *words, "-f", "json")
    made = portico("subnet", "create", "--network", other, "--subnetpool", pool.json["id"], "-f", "json")
    assert made.json["ip_version"] == version
    assert portico("network", "delete", other).code == portico("subnetpool", "delete", f"pool{version}").code == 0


def test_the_addresses_of_a_network_are_counted_under_its_name(portico: Portico, network: str) -> None:
    shown = portico("network-ip-availability", "show", network, "-f", "json").json
    assert (shown["network_name"], shown["total_ips"]) == (network, 253)
    assert portico("network-ip-availability", "show", shown["network_id"], "-f", "json").json == shown
    done = portico("network-ip-availability", "show", "nowhere")
    assert (done.code, done.err) == (1, "portico: no network has the name or id 'nowhere'\n")


def test_a_list_of_quotas_shows_the_limits(portico: Portico) -> None:
    portico("quota", "set", "someone", "--network", "7")
    lines = portico("quota", "list", "-f", "csv").out.splitlines()
    assert lines[0] == "project_id,network,subnet,subnetpool,port,security_group,security_group_rule"
    assert any(line.startswith("someone,7,") for line in lines)
    assert portico("quota", "delete", "someone").code == 0


def test_a_name_that_several_have_is_refused_with_their_ids(portico: Portico) -> None:
    ids = sorted(portico("network", "create", "twin", "-f", "json").json["id"] for _ in range(2))
    done = portico("network", "delete", "twin")
    assert (done.code, done.err) == (1, f"portico: 2 networks are named 'twin'; say which by id: {', '.join(ids)}\n")
    assert portico("network", "delete", *ids).code == 0


def test_delete_does_what_it_can_and_tells_the_rest(portico: Portico) -> None:
    portico("network", "create", "gone")
    done = portico("network", "delete", "nowhere", "gone")
    assert (done.code, done.err) == (1, "portico: no network has the name or id 'nowhere'\n")
    assert portico("network", "show", "gone").code == 1


@pytest.mark.parametrize(
    "words",
    [
        ("network",),
        ("network", "fly"),
        ("port", "create"),
        ("network", "list", "-f", "xml"),
        ("network", "list", "--nam", "x"),
    ],
)
def test_wrong_usage_is_exit_code_2(portico: Portico, words: tuple[str, ...]) -> None:
    assert portico(*words).code == 2


def test_an_action_is_a_verb_that_takes_options_and_prints_the_object(portico: Portico) -> None:
    assert portico("address-group", "create", "lan", "--address", "192.0.2.0/24", "-f", "json").code == 0
    added = portico("address-group", "add-addresses", "lan", "--address", "10.0.0.1", "--address", "::1", "-f", "json")
    assert added.json["addresses"] == ["10.0.0.1/32", "192.0.2.0/24", "::1/128"]
    removed = portico("address-group", "remove-addresses", "lan", "--address", "192.0.2.0/24", "-f", "json")
    assert removed.json["addresses"] == ["10.0.0.1/32", "::1/128"]
    refused = portico("address-group", "remove-addresses", "lan", "--address", "192.0.2.0/24")
    assert refused.code == 1 and "192.0.2.0/24 not found" in refused.err


def test_an_action_that_reads_prints_a_list(portico: Portico) -> None:
    assert portico("bgp-speaker", "create", "racks", "--local-as", "4200000000", "--ip-version", "4").code == 0
    assert portico("bgp-speaker", "list", "--local-as", "4200000000", "-f", "value", "-c", "name").out == "racks\n"
    assert portico("bgp-speaker", "get-advertised-routes", "racks", "-f", "json").json == []
    peer = ("--peer-ip", "192.0.2.1", "--remote-as", "65001", "--auth-type", "none")
    assert portico("bgp-peer", "create", "tor", *peer).code == 0
    added = portico("bgp-speaker", "add-bgp-peer", "racks", "--bgp-peer", "tor", "-f", "json")
    assert added.code == 0 and len(added.json["peers"]) == 1


def test_a_router_s_actions_take_names_and_pairs(portico: Portico, network: str) -> None:
    assert portico("network", "create", "public", "--router-external").code == 0
    assert portico("subnet", "create", "--network", "public", "203.0.113.0/24").code == 0
    gateway = ("--external-gateway-info", "network=public,enable_snat=false")
    made = portico("router", "create", "r", *gateway, "-f", "json").json
    assert made["external_gateway_info"]["enable_snat"] is False
    joined = portico("router", "add-router-interface", "r", "--subnet", f"{network}4", "-f", "json")
    assert joined.json["id"] == made["id"], joined.err
    route = ("--route", "destination=198.51.100.0/24,nexthop=10.1.0.9")
    assert portico("router", "add-extraroutes", "r", *route, "-f", "value", "-c", "routes").out != "\n"
    assert portico("router", "remove-extraroutes", "r", *route, "-f", "value", "-c", "routes").out == "\n"
    more = portico("router", "add-external-gateways", "r", "--external-gateway", "network=public", "-f", "json")
    assert len(more.json["external_gateways"]) == 2, more.err
    assert portico("router", "set", "r", "--no-external-gateway-info", "-f", "json").code == 0
    assert portico("router", "delete", "r").code == 1
    assert portico("router", "remove-router-interface", "r", "--subnet", f"{network}4").code == 0
    assert portico("router", "delete", "r").code == 0
    assert portico("network", "delete", "public").code == 0
