# SPDX-License-Identifier: Apache-2.0
"""Converters: the functions that a model names in `convert_to`.

Each takes any JSON value and returns the value to validate. Names and behaviour are neutron-lib's
(neutron_lib.api.converters) and, for security group rules, Neutron's (neutron.extensions.securitygroup).

Raises (all of them): BadRequest when the value cannot be converted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from portico.errors import BadRequest
from portico.model.address import canonical, canonical_mac, read_address, read_interface
from portico.model.show import show

_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
_FALSE = frozenset({"0", "f", "false", "off", "n", "no"})
_IP_VERSIONS = ("IPv4", "IPv6")
SHAREABLE = ("network", "subnetpool", "security_group", "address_scope", "address_group", "qos_policy")
MAX_PORT = 65535
MAX_PROTOCOL = 255
_WITH_TABLES = frozenset({"dccp", "icmp", "ipv6-icmp", "sctp", "tcp", "udp"})

# https://www.iana.org/assignments/protocol-numbers, the names that Neutron knows
PROTOCOLS = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "icmpv6": 58, "igmp": 2, "ip": 0,
    "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60,
    "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}  # fmt: skip


def _invalid(reason: str) -> BadRequest:
    return BadRequest(f"Invalid input for operation: {reason}.", type="InvalidInput")


def boolean(value: Any) -> bool | None:
    """Return what `value` says (true, "yes", 1, "off"...), or None when it says neither true nor false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return {0: False, 1: True}.get(value)
    if not isinstance(value, str):
        return None
    word = value.strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def convert_to_boolean(value: Any) -> bool:
    """Return the truth that `value` spells."""
    truth = boolean(value)
    if truth is None:
        raise _invalid(f"'{show(value)}' cannot be converted to boolean")
    return truth


def convert_to_boolean_if_not_none(value: Any) -> bool | None:
    """Return the truth that `value` spells; None stays None."""
    return None if value is None else convert_to_boolean(value)


def convert_to_int(value: Any) -> int:
    """Return the integer that `value` is or spells; a fraction is cut off."""
    try:
        return int(value)
    except (ValueError, TypeError, OverflowError):
        raise _invalid(f"'{show(value)}' is not an integer") from None


def convert_to_int_if_not_none(value: Any) -> int | None:
    """Return the integer that `value` is or spells; None stays None."""
    return None if value is None else convert_to_int(value)


def convert_none_to_empty_list(value: Any) -> Any:
    """Return [] for None."""
    return [] if value is None else value


def convert_none_to_empty_dict(value: Any) -> Any:
    """Return {} for None."""
    return {} if value is None else value


def convert_none_to_empty_string(value: Any) -> Any:
    """Return "" for None."""
    return "" if value is None else value


def convert_to_string(value: Any) -> str | None:
    """Return `value` as text; None stays None."""
    if value is None or isinstance(value, str):
        return value
    try:
        return str(value)
    except (ValueError, RecursionError):
        raise _invalid(f"'{show(value)}' cannot be converted to a string") from None


def convert_to_list(value: Any) -> list[Any]:
    """Return `value` as a list: None is empty, a single value is the one item."""
    if value is None:
        return []
    if isinstance(value, list | dict):
        return list(value)
    return [value]


def convert_string_to_case_insensitive(value: Any) -> str:
    """Return `value` in lower case."""
    if not isinstance(value, str):
        raise _invalid(f"Input value {show(value)} must be string type")
    return value.lower()


def convert_ip_to_canonical_format(value: Any) -> Any:
    """Return an IPv6 address in its shortest spelling; anything else as it is."""
    address = read_address(value)
    return canonical(address) if address is not None and address.version == 6 else value


def convert_allocation_pools_to_canonical_format(value: Any) -> list[dict[str, Any]]:
    """Return allocation pools with IPv6 addresses in their shortest spelling; None is no pools."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(pool, dict) for pool in value):
        if value in ("", {}):
            return []
        raise _invalid(f"Invalid data format for allocation pools: '{show(value)}' is no list of dictionaries")
    return [{key: convert_ip_to_canonical_format(item) for key, item in pool.items()} for pool in value]


def convert_cidr_to_canonical_format(value: Any) -> str:
    """Return an address with a prefix length; an IPv6 address in its shortest spelling."""
    interface = read_interface(value)
    if interface is None:
        raise _invalid(f"{show(value)} is not in a CIDR format")
    return f"{canonical(interface.ip)}/{interface.network.prefixlen}"


def convert_to_sanitized_mac_address(value: Any) -> Any:
    """Return a MAC address as aa:bb:cc:dd:ee:ff; what is none is returned as it is, for the validator to refuse."""
    if isinstance(value, str):
        return canonical_mac(value) or value
    return value


def convert_prefix_forced_case(value: Any, prefix: str) -> Any:
    """Return text that starts with `prefix` in any case with the prefix spelled so."""
    if isinstance(value, str) and value[: len(prefix)].lower() == prefix.lower():
        return prefix + value[len(prefix) :]
    return value


def convert_uppercase_ip(value: Any) -> Any:
    """Return "ipv4" as "IPv4"."""
    return convert_prefix_forced_case(value, "IP")


def convert_ethertype_to_case_insensitive(value: Any) -> str:
    """Return "ipv4" as "IPv4" and "IPV6" as "IPv6"; nothing else is an ethertype, None neither."""
    if isinstance(value, str):
        for name in _IP_VERSIONS:
            if name.lower() == value.lower():
                return name
    raise BadRequest(
        f"Security group rule for ethertype '{show(value)}' not supported. Allowed values are {list(_IP_VERSIONS)}.",
        type="SecurityGroupRuleInvalidEtherType",
    )


def convert_protocol(value: Any) -> str | None:
    """Return an IP protocol as text: a known name in lower case, or a number from 0 to 255; None and "any" are None."""
    if value is None or (isinstance(value, str) and value.lower() == "any"):
        return None
    if isinstance(value, str) and value.lower() in PROTOCOLS:
        return value.lower()
    try:
        number = int(value)
    except (ValueError, TypeError, OverflowError):
        number = -1
    if isinstance(value, bool) or not 0 <= number <= MAX_PROTOCOL:
        raise BadRequest(
            f"Security group rule protocol {show(value)} not supported. Only protocol values "
            f"{', '.join(PROTOCOLS)} and integer representations [0 to 255] are supported.",
            type="SecurityGroupRuleInvalidProtocol",
        )
    return str(number)


def convert_validate_port_value(value: Any) -> int | None:
    """Return a port number (or ICMP type or code) from 0 to 65535; None stays None."""
    if value is None:
        return None
    try:
        number = int(value)
    except (ValueError, TypeError, OverflowError):
        number = -1
    if isinstance(value, bool) or not 0 <= number <= MAX_PORT:
        raise BadRequest(f"Invalid value for port {show(value)}.", type="SecurityGroupInvalidPortValue")
    return number


def convert_to_protocol(value: Any) -> Any:
    """Return a protocol as it was given: one of the names that iptables knows, or text of a number from 0 to 255."""
    if value is None or (isinstance(value, str) and value.lower() in _WITH_TABLES):
        return value
    try:
        number = convert_to_int(value) if isinstance(value, str) else -1
    except BadRequest:
        number = -1
    if not 0 <= number <= MAX_PROTOCOL:
        raise _invalid(f"IP protocol '{show(value)}' is not supported: neither a known name nor a number from 0 to 255")
    return value


def convert_ip_prefix_to_cidr(value: Any) -> str | None:
    """Return an address or a range with its prefix length; empty is None."""
    if not value:
        return None
    interface = read_interface(value)
    if interface is None:
        raise BadRequest(f"Invalid CIDR {show(value)} given as IP prefix.", type="InvalidCIDR")
    return f"{canonical(interface.ip)}/{interface.network.prefixlen}"


def convert_to_ranges(value: Any) -> list[str]:
    """Return addresses and ranges as ranges without bits right of the prefix, each once."""
    if not isinstance(value, list):
        raise _invalid(f"'{show(value)}' is not a list")
    found: dict[str, None] = {}
    for item in value:
        interface = read_interface(item)
        if interface is None:
            raise _invalid(f"'{show(item)}' is not a valid IP address or range")
        found[str(interface.network)] = None
    return list(found)


def convert_valid_object_type(value: Any) -> str:
    """Return the kind of object that an RBAC policy is about, in lower case."""
    kind = value.strip().lower() if isinstance(value, str) else value
    if kind not in SHAREABLE:
        raise _invalid(f"'{show(value)}' is not a valid RBAC object type: none of {', '.join(SHAREABLE)}")
    return str(kind)


CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    function.__name__: function
    for function in (
        convert_to_boolean,
        convert_to_boolean_if_not_none,
        convert_to_int,
        convert_to_int_if_not_none,
        convert_none_to_empty_list,
        convert_none_to_empty_dict,
        convert_none_to_empty_string,
        convert_to_string,
        convert_to_list,
        convert_string_to_case_insensitive,
        convert_ip_to_canonical_format,
        convert_allocation_pools_to_canonical_format,
        convert_cidr_to_canonical_format,
        convert_to_sanitized_mac_address,
        convert_uppercase_ip,
        convert_ethertype_to_case_insensitive,
        convert_protocol,
        convert_validate_port_value,
        convert_to_protocol,
        convert_ip_prefix_to_cidr,
        convert_to_ranges,
        convert_valid_object_type,
    )
}
