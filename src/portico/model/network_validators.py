# SPDX-License-Identifier: Apache-2.0
"""Validators of addresses, names and compound values, and the table of all validators.

Behaviour is neutron-lib's; some raise instead of giving a reason, because the error has a type of its own on the wire.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from ipaddress import ip_interface
from typing import Any

from portico.errors import BadRequest
from portico.model import validators as v
from portico.model.address import canonical_mac, has_whitespace, read_address, read_interface
from portico.model.converters import CONVERTERS
from portico.model.show import show
from portico.model.subports import subports

MAX_ADDRESS_PAIRS = 10
MAX_ZONE_HINTS = 255
MAX_DNS_NAME = 255
MAX_PORT = 65535

_NO_MACS = frozenset({"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"})
_DNS_LABEL = re.compile(r"[a-z0-9-]{1,63}|<project_id>|<project_name>|<user_name>|<user_id>")
_DIGITS = re.compile("[0-9]+")
# neutron-lib adds the letters of "compute:" one by one, and what these let pass is in use (Tempest's "test:type_1").
_SERVICE_TYPE_PREFIXES = ("network:", "neutron:", *"compute:")


def mac_address(value: Any, _: Any) -> str | None:
    """A MAC address that one interface can have: neither zero nor broadcast."""
    mac = None if not isinstance(value, str) or has_whitespace(value) else canonical_mac(value)
    return None if mac and mac not in _NO_MACS else f"'{show(value)}' is not a valid MAC address"


def ip_address(value: Any, _: Any) -> str | None:
    """An IPv4 address of four octets without leading zeros, or an IPv6 address without a scope."""
    return None if read_address(value) else f"'{show(value)}' is not a valid IP address"


def subnet(value: Any, _: Any) -> str | None:
    """An address with a prefix length; host bits may be set."""
    interface = read_interface(value) if isinstance(value, str) and "/" in value and not has_whitespace(value) else None
    if interface is None or (interface.version == 4 and str(interface) != value):
        return f"'{show(value)}' is not a valid IP subnet"
    return None


def route_cidr(value: Any) -> str | None:
    """Return why `value` is no range that a route can lead to."""
    interface = read_interface(value) if isinstance(value, str) and "/" in value and not has_whitespace(value) else None
    if interface is None or interface.ip != interface.network.network_address:
        return f"'{show(value)}' is not a valid CIDR"
    return f"'{show(value)}' is not a routable CIDR" if interface.network.is_loopback else None


def ip_or_subnet(value: Any, _: Any) -> str | None:
    """An address, or an address with a prefix length."""
    if ip_address(value, None) and subnet(value, None):
        return f"'{show(value)}' is neither a valid IP address, nor is it a valid IP subnet"
    return None


def ip_pools(value: Any, _: Any) -> str | None:
    """A list of pools, each a first and a last address."""
    if not isinstance(value, list):
        return f"Invalid data format for IP pool: '{show(value)}'"
    for pool in value:
        if reason := _exact_keys(pool, ("start", "end")):
            return reason
        if reason := ip_address(pool["start"], None) or ip_address(pool["end"], None):
            return reason
    return None


def fixed_ips(value: Any, _: Any) -> str | None:
    """A list of fixed IPs, each with an address, a subnet id, or both; no address twice."""
    if not isinstance(value, list):
        return f"Invalid data format for fixed IP: '{show(value)}'"
    addresses: set[str] = set()
    for item in value:
        if not isinstance(item, dict):
            return f"Invalid data format for fixed IP: '{show(item)}'"
        if "ip_address" in item:
            address = item["ip_address"]
            if isinstance(address, str) and address in addresses:
                return f"Duplicate IP address '{show(address)}'"
            if reason := ip_address(address, None):
                return reason
            addresses.add(address)
        if "subnet_id" in item and (reason := v.uuid_value(item["subnet_id"], None)):
            return reason
    return None


def nameservers(value: Any, _: Any) -> str | None:
    """A list of addresses, none twice."""
    if not isinstance(value, list):
        return None if value in ("", {}) else f"Invalid data format for nameserver: '{show(value)}'"
    hosts: set[str] = set()
    for host in value:
        if reason := ip_address(host, None):
            return f"'{show(host)}' is not a valid nameserver. {reason}"
        if host in hosts:
            return f"Duplicate nameserver '{show(host)}'"
        hosts.add(host)
    return None


def hostroutes(value: Any, _: Any) -> str | None:
    """A list of routes, each a destination and a next hop; none twice."""
    if not isinstance(value, list):
        return f"Invalid data format for hostroute: '{show(value)}'"
    routes: set[tuple[str, str]] = set()
    for route in value:
        if reason := _exact_keys(route, ("destination", "nexthop")):
            return reason
        if reason := route_cidr(route["destination"]) or ip_address(route["nexthop"], None):
            return reason
        key = route["destination"], route["nexthop"]
        if key in routes:
            return f"Duplicate hostroute '{show(route)}'"
        routes.add(key)
    return None


def _exact_keys(value: Any, keys: tuple[str, ...]) -> str | None:
    if not isinstance(value, dict):
        return f"Invalid input. '{show(value)}' must be a dictionary with keys: {', '.join(keys)}"
    if set(value) != set(keys):
        return (
            f"Validation of dictionary's keys failed. Expected keys: {', '.join(keys)} "
            f"Provided keys: {show(', '.join(value))}"
        )
    return None


def allowed_address_pairs(value: Any, _: Any) -> str | None:
    """At most ten pairs of an address or range and, optionally, a MAC address; no multicast, none twice.

    Raises:
        BadRequest: with the type that Neutron gives each of these faults.
    """
    if not isinstance(value, list):
        return f"'{show(value)}' is not a list"
    if len(value) > MAX_ADDRESS_PAIRS:
        raise BadRequest(
            f"The number of allowed address pair exceeds the maximum {MAX_ADDRESS_PAIRS}.",
            type="AllowedAddressPairExhausted",
        )
    seen = set()
    for pair in value:
        if not isinstance(pair, dict):
            return f"'{show(pair)}' is not a dictionary"
        if reason := _pair_reason(pair):
            return reason
        key = (pair.get("mac_address"), pair["ip_address"])
        if key in seen:
            raise BadRequest(
                f"Request contains duplicate address pair: mac_address {key[0]} ip_address {key[1]}.",
                type="DuplicateAddressPairInRequest",
            )
        seen.add(key)
    return None


def _pair_reason(pair: dict[str, Any]) -> str | None:
    if "mac_address" in pair and (reason := mac_address(pair["mac_address"], None)):
        return f"mac_address {reason}"
    if "ip_address" not in pair:
        raise BadRequest("AllowedAddressPair must contain ip_address", type="AllowedAddressPairsMissingIP")
    if unknown := sorted(set(pair) - {"mac_address", "ip_address"}):
        return f"Unrecognized attribute(s) '{show(', '.join(unknown))}'"
    address = pair["ip_address"]
    if reason := (subnet if isinstance(address, str) and "/" in address else ip_address)(address, None):
        return f"ip_address {reason}"
    interface = read_interface(address)
    if interface is None:
        return f"ip_address '{show(address)}' is not a valid IP subnet"
    network = interface.network
    multicast = ip_interface("224.0.0.0/4" if network.version == 4 else "ff00::/8").network
    if str(network) != "0.0.0.0/0" and network.overlaps(multicast):
        return f"ip_address '{address}' overlaps with multicast range {multicast}, which is not supported"
    mac = canonical_mac(pair["mac_address"]) if "mac_address" in pair else None
    if mac and int(mac[:2], 16) & 1:
        return f"mac_address '{mac}' is a multicast address, which is not supported"
    return None


def dictionary(value: Any, key_specs: Mapping[str, Mapping[str, Any]] | None) -> str | None:
    """An object; with `key_specs`, one whose keys and values these allow. Converts values in place."""
    if not isinstance(value, dict):
        return f"'{show(value)}' is not a dictionary"
    if not key_specs:
        return None
    missing = [key for key, spec in key_specs.items() if spec.get("required") and key not in value]
    if missing:
        return (
            f"Validation of dictionary's keys failed. Expected keys: {', '.join(missing)} "
            f"Provided keys: {show(', '.join(value))}"
        )
    if unexpected := [key for key in value if key not in key_specs]:
        return f"Unexpected keys supplied: {show(', '.join(unexpected))}"
    for key in key_specs:
        if key in value and (reason := _dictionary_item(value, key, key_specs[key])):
            return reason
    return None


def _dictionary_item(value: dict[str, Any], key: str, spec: Mapping[str, Any]) -> str | None:
    if convert := spec.get("convert_to"):
        value[key] = CONVERTERS[convert](value[key])
    for rule, argument in spec.items():
        if rule.startswith("type:"):
            return VALIDATORS[rule](value[key], argument)
    return None


def dictionaries(value: Any, key_specs: Mapping[str, Mapping[str, Any]] | None) -> str | None:
    """A list of objects as `dictionary` has them; equal ones may be in it."""
    if not isinstance(value, list):
        return f"'{show(value)}' is not a list"
    return next((reason for item in value if (reason := dictionary(item, key_specs))), None)


def any_key_specs(value: Any, specs: list[Mapping[str, Mapping[str, Any]]]) -> str | None:
    """A list of objects without duplicates, each allowed by at least one of `specs`.

    Raises:
        BadRequest: with the type that Neutron gives this fault.
    """

    def matches_one(item: Any, _: Any) -> str | None:
        if any(dictionary(item, spec) is None for spec in specs):
            return None
        return f"No valid key specs matched for: {show(item)}"

    if reason := v.each(matches_one)(value, None):
        raise BadRequest(f"Invalid input for operation: {reason}.", type="InvalidInput")
    return None


def zone_hints(value: Any, _: Any) -> str | None:
    """A list of zone names, none twice.

    Raises:
        BadRequest: all together are too long.
    """
    if reason := v.each(v.string)(value, None):
        return reason
    if len(json.dumps(value)) > MAX_ZONE_HINTS:
        raise BadRequest(
            "Invalid input for operation: Too many availability_zone_hints specified.", type="InvalidInput"
        )
    return None


def dns_name(value: Any, max_len: int) -> str | None:
    """A name of letters, digits and hyphens (RFC 1123, section 2.1), relative or, with a dot at the end, whole."""
    if not value:
        return None
    if not isinstance(value, str):
        return f"'{show(value)}' is not a valid string"
    if reason := _name_fault(value.removesuffix("."), max_len):
        return f"'{show(value)}' not a valid PQDN or FQDN. Reason: {reason}"
    return None


def floating_dns_name(value: Any, max_len: int) -> str | None:
    """A name as `dns_name` has it, relative and short enough for a domain behind it."""
    if reason := v.string(value, None):
        return reason
    if value.endswith("."):
        return f"'{show(value)}' is a FQDN. It should be a relative domain name"
    if reason := dns_name(value, max_len):
        return reason
    if len(value) > max_len - 3:
        return f"'{show(value)}' is too long: with a domain name it would exceed {max_len} characters"
    return None


def _name_fault(name: str, max_len: int) -> str | None:
    if len(name) > max_len:
        return f"'{show(name)}' exceeds the {max_len} character FQDN limit"
    labels = name.split(".")
    for label in labels:
        if not label:
            return "Encountered an empty component"
        if label.startswith("-") or label.endswith("-"):
            return f"Name '{label}' must not start or end with a hyphen"
        if not _DNS_LABEL.fullmatch(label):
            return f"Name '{label}' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen"
    if len(labels) > 1 and _DIGITS.fullmatch(labels[-1]):
        return f"TLD '{labels[-1]}' must not be all numeric"
    return None


def dns_domain(value: Any, max_len: int) -> str | None:
    """A domain with the dot at its end, short enough for a label before it."""
    if reason := v.string(value, None):
        return reason
    if not value:
        return None
    if not value.endswith("."):
        return f"'{show(value)}' is not a FQDN"
    if reason := dns_name(value, max_len):
        return reason
    if len(value) > max_len - 2:
        return (
            f"'{show(value)}' contains {len(value)} characters. Adding a sub-domain will cause it to exceed the "
            f"maximum length of a FQDN of '{max_len}'"
        )
    return None


def service_types(value: Any, _: Any) -> str | None:
    """A list of device owners.

    Raises:
        BadRequest: with the type that Neutron gives this fault.
    """
    if value and not isinstance(value, list):
        return f"'{show(value)}' is not a list"
    for item in value or []:
        if not isinstance(item, str):
            raise BadRequest(f"Subnet service type {show(item)} is not a string.", type="InvalidInputSubnetServiceType")
        if not item.startswith(_SERVICE_TYPE_PREFIXES):
            raise BadRequest(
                f"Subnet service type {show(item)} does not correspond to a valid device owner.",
                type="InvalidSubnetServiceType",
            )
    return None


_BY_NAME: dict[str, v.Validator] = {
    "allowed_address_pairs": allowed_address_pairs,
    "availability_zone_hint_list": zone_hints,
    "boolean": v.boolean_value,
    "dict": dictionary,
    "dict_or_nodata": v.or_nodata(dictionary),
    "dict_or_none": v.or_none(dictionary),
    "dns_domain_name": dns_domain,
    "dns_host_name": dns_name,
    "fip_dns_host_name": floating_dns_name,
    "fixed_ips": fixed_ips,
    "hostroutes": hostroutes,
    "integer": v.integer,
    "ip_address": ip_address,
    "ip_address_or_none": v.or_none(ip_address),
    "ip_or_subnet_or_none": v.or_none(ip_or_subnet),
    "ip_pools": ip_pools,
    "list_of_dict_or_nodata": v.or_nodata(dictionaries),
    "list_of_any_key_specs_or_none": v.or_none(any_key_specs),
    "list_of_subnet_service_types": service_types,
    "list_of_subnets_or_none": v.or_none(v.each(subnet)),
    "list_of_unique_strings": v.each(v.string),
    "mac_address": mac_address,
    "mac_address_or_none": v.or_none(mac_address),
    "name_string": v.name_string,
    "name_string_not_default": v.name_string_not_default,
    "name_string_or_none": v.or_none(v.name_string),
    "nameservers": nameservers,
    "non_negative": v.non_negative,
    "not_empty_name_string": v.not_empty_name_string,
    "not_empty_string": v.not_empty_string,
    "not_empty_string_or_none": v.or_none(v.not_empty_string),
    "oneline_not_empty_string": v.oneline_not_empty_string,
    "oneline_not_empty_string_or_none": v.or_none(v.oneline_not_empty_string),
    "port_range": v.port_range,
    "range": v.within,
    "range_or_none": v.or_none(v.within),
    "regex": v.regex,
    "regex_or_none": v.or_none(v.regex),
    "string": v.string,
    "string_or_none": v.or_none(v.string),
    "subnet": subnet,
    "subnet_list": v.each(subnet),
    "subnet_or_none": v.or_none(subnet),
    "subnetpool_id": v.subnetpool_id,
    "subnetpool_id_or_none": v.subnetpool_id,
    "subports": subports,
    "uuid": v.uuid_value,
    "uuid_list": v.each(v.uuid_value),
    "uuid_or_none": v.or_none(v.uuid_value),
    "values": v.values,
}
VALIDATORS: Mapping[str, v.Validator] = {f"type:{name}": validator for name, validator in _BY_NAME.items()}
