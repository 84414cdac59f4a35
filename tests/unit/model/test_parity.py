# SPDX-License-Identifier: Apache-2.0
"""Our validators and converters against neutron-lib's, on any JSON value and on values that are nearly right."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neutron_lib.api import converters, validators
from oslo_config import cfg

from portico.errors import BadRequest, Conflict
from portico.model.converters import CONVERTERS
from portico.model.network_validators import VALIDATORS

cfg.CONF.register_opts([cfg.IntOpt("max_allowed_address_pair", default=10), cfg.StrOpt("dns_domain", default="")])


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return text.split()


UUIDS = words("""
    0d6d6f6e-97f4-4c1e-a6f4-0a4d8b0d3c11 {0D6D6F6E97F44C1EA6F40A4D8B0D3C11}
    urn:uuid:0d6d6f6e97f44c1ea6f40a4d8b0d3c11
""")
ADDRESSES = words("""
    192.0.2.1 192.0.2.01 192.0.2 0.0.0.0 224.0.0.5 2001:db8::1 2001:DB8:0::1 ::ffff:192.0.2.1
    fe80::1%eth0 ff02::1 ::192.0.2.1
""")
RANGES = words("""
    192.0.2.0/24 192.0.2.1/24 192.0.2.0/255.255.255.0 192.0.2.0/0.0.0.255 192.0.2.0/33 10/8
    127.0.0.0/8 0.0.0.0/0 2001:db8::/64 2001:DB8::1/64 2001:db8::/ffff:ffff:: ::/0 2001:db8::/+64
    ff00::/8 224.0.0.0/4 192.0.2.0/ / 2001:db8::/::ffff 192.0.2.0/0x8 ::1/128 192.0.2.0/192.0.2.0
""")
MACS = words("""
    fa:16:3e:00:00:01 FA-16-3E-00-00-01 fa16.3e00.0001 fa163e000001 fa163e00001 fa163e-000001
    fa16:3e00:1 f:1:3:0:0:1 00:00:00:00:00:00 ff:ff:ff:ff:ff:ff 01:00:5e:00:00:01
""")
WORDS = words("""
    web default Default true OFF 0 1 -1 80 65536 1_0 1e3 1.5 prefix_delegation router tcp IPv4 ipV6
    a.b a.b. -a a- a..b a.1 <project_id> example.org. A.org . compute:x network: neutron
    classless-static-route c:x
""")
WORDS += [
    "",
    " ",
    " web",
    "web ",
    "a b",
    "a\nb",
    "a\u2028b",
    "\xa0x",
    "n\xe4me",
    "\U0001f600",
    "x" * 256,
    " yes ",
    " 7 ",
]
KEYS = words("""
    ip_address subnet_id mac_address start end destination nexthop opt_name opt_value ip_version x
""")

NEAR = st.sampled_from([*UUIDS, *ADDRESSES, *RANGES, *MACS, *WORDS])
SPOILT = st.tuples(
    NEAR, st.integers(0, 40), st.sampled_from([" ", "\t", "0", "g", ":", "/", ".", "\u0660", "\x00", "\x1f"])
).map(lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    NEAR,
    SPOILT,
)
OBJECTS = st.dictionaries(st.sampled_from(KEYS), NEAR | SCALARS, max_size=4)
SHAPED = st.one_of(
    st.fixed_dictionaries({"start": NEAR, "end": NEAR}),
    st.fixed_dictionaries({"destination": st.sampled_from(RANGES), "nexthop": st.sampled_from(ADDRESSES)}),
    st.fixed_dictionaries(
        {"ip_address": st.sampled_from(ADDRESSES + RANGES)},
        optional={"mac_address": st.sampled_from(MACS), "subnet_id": st.sampled_from(UUIDS)},
    ),
    st.fixed_dictionaries(
        {"opt_name": NEAR, "opt_value": NEAR | st.none()},
        optional={"ip_version": st.sampled_from([4, 6, "4", 5, None])},
    ),
)
JSON = st.one_of(
    SCALARS,
    st.lists(NEAR, max_size=4),
    st.lists(SHAPED | OBJECTS, max_size=3),
    OBJECTS | SHAPED,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
)

DHCP_OPTIONS = [
    {
        "opt_name": {"type:values": ["router", "classless-static-route"], "required": True},
        "opt_value": {"type:string_or_none": 255, "required": True},
        "ip_version": {"convert_to": "convert_to_int", "type:values": [4, 6], "required": False},
    },
    {
        "opt_name": {"type:oneline_not_empty_string": 64, "required": True},
        "opt_value": {"type:oneline_not_empty_string_or_none": 255, "required": True},
        "ip_version": {"convert_to": "convert_to_int", "type:values": [4, 6], "required": False},
    },
]
# The argument that each rule is tried with; None where it is not here.
ARGUMENTS: dict[str, Any] = {
    "type:values": ["thread", 4, 6, None, "router"],
    "type:port_range": [1, 65535],
    "type:range": [-1, 300],
    "type:range_or_none": [0, None],
    "type:regex": "[a-z]+$",
    "type:regex_or_none": "[a-z]+",
    "type:list_of_any_key_specs_or_none": DHCP_OPTIONS,
    "type:dict": DHCP_OPTIONS[1],
    "type:dict_or_nodata": DHCP_OPTIONS[1],
    "type:list_of_dict_or_nodata": {},
    "type:dns_host_name": 255,
    "type:dns_domain_name": 255,
    "type:fip_dns_host_name": 255,
    **dict.fromkeys(("type:string", "type:name_string", "type:not_empty_string", "type:string_or_none"), 255),
}


def with_functions(argument: Any) -> Any:
    """Return an argument in neutron-lib's form: converters as functions."""
    if isinstance(argument, dict):
        return {
            key: getattr(converters, item) if key == "convert_to" else with_functions(item)
            for key, item in argument.items()
        }
    if isinstance(argument, list):
        return [with_functions(item) for item in argument]
    return argument


def theirs(rule: str) -> Any:
    return validators.get_validator(rule)


def accepts(function: Any, *arguments: Any) -> bool:
    """Return whether neutron-lib accepts; whatever it raises is a refusal (some faults of input are a 500 there)."""
    try:
        return function(*arguments) is None
    except Exception:  # noqa: BLE001
        return False


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def differs_on_purpose(name: str, value: Any) -> bool:
    """Return whether this is one of neutron-lib's faults that ours does not share.

    A line feed at the end of a name passes its patterns, because `$` matches before it. It reads a number beyond 32
    bits as an IPv6 address. In a list of objects it takes what is empty for one, and refuses equal ones.
    """
    if name == "type:list_of_dict_or_nodata" and isinstance(value, list):
        return not all(value) or any(item in value[:number] for number, item in enumerate(value))
    text = [leaf for leaf in leaves(value) if isinstance(leaf, str)]
    if name in ("convert_ip_to_canonical_format", "convert_allocation_pools_to_canonical_format"):
        return any(isinstance(leaf, int) and leaf >= 1 << 32 for leaf in leaves(value))
    return any(item.endswith("\n") for item in text)


@pytest.mark.parametrize("rule", sorted(VALIDATORS))
@settings(max_examples=150, deadline=None)
@given(value=JSON)
def test_a_validator_accepts_what_neutron_lib_s_accepts_and_never_crashes(rule: str, value: Any) -> None:
    argument = ARGUMENTS.get(rule)
    try:
        ours = VALIDATORS[rule](copy.deepcopy(value), argument) is None
    except (BadRequest, Conflict):
        ours = False
    if not differs_on_purpose(rule, value):
        assert ours == accepts(theirs(rule), copy.deepcopy(value), with_functions(argument))


OWN = {
    "convert_protocol",
    "convert_validate_port_value",
    "convert_ip_prefix_to_cidr",
    "convert_ethertype_to_case_insensitive",
    "convert_to_ranges",
    "convert_valid_object_type",
}


def result_of(function: Any, value: Any) -> Any:
    try:
        return repr(function(copy.deepcopy(value)))
    except Exception:  # noqa: BLE001
        return "refused"


@pytest.mark.parametrize("name", sorted(CONVERTERS.keys() - OWN))
@settings(max_examples=150, deadline=None)
@given(value=JSON)
def test_a_converter_returns_what_neutron_lib_s_returns_and_never_crashes(name: str, value: Any) -> None:
    try:
        ours = repr(CONVERTERS[name](copy.deepcopy(value)))
    except BadRequest:
        ours = "refused"
    if differs_on_purpose(name, value):
        return
    expected = result_of(getattr(converters, name), value)
    if name == "convert_to_sanitized_mac_address" and ours == repr(value):
        # netaddr also reads numbers, numbers in text and EUI-64; none of those is a MAC address to us.
        assert VALIDATORS["type:mac_address"](value, None) is not None or expected == ours
    else:
        assert ours == expected
