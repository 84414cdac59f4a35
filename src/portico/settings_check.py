# SPDX-License-Identifier: Apache-2.0
"""Rules of settings that a type cannot say, and the addresses that the API listens on."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

NETNS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
DOMAIN = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.IGNORECASE
)
HOST = re.compile(r"[^\s/]{1,255}")
ZONE = re.compile(r"[^\s,/]{1,255}")
PHYSICAL_NETWORK = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# IFNAMSIZ is 16 with the terminating zero; dev_valid_name in the kernel's net/core/dev.c.
INTERFACE = re.compile(r"(?!\.{1,2}$)[!-+\--.0-9;-~]{1,15}")
# 0 and 4095 have a meaning of their own (IEEE 802.1Q section 9.6).
VLAN_MIN, VLAN_MAX = 1, 4094
# sun_path holds 108 bytes with the NUL (unix(7)).
SOCKET_PATH_MAX = 107


class UnixAddress(NamedTuple):
    """A socket in the file system."""

    path: Path


class TcpAddress(NamedTuple):
    """An address and a port; port 0 lets the kernel choose."""

    host: str
    port: int


def parse_listen(text: str) -> UnixAddress | TcpAddress:
    """Return the address that `text` names.

    Raises:
        ValueError: with the rule that `text` breaks.
    """
    if text.startswith("unix:"):
        return UnixAddress(_socket_path(text.removeprefix("unix:")))
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be ADDRESS:PORT, [ADDRESS]:PORT or unix:/PATH")
    host = host.removeprefix("[").removesuffix("]")
    if host != "localhost":
        ipaddress.ip_address(host)
    return TcpAddress(host, int(port))


def is_loopback(address: UnixAddress | TcpAddress) -> bool:
    """Tell whether only this machine can reach `address`."""
    if isinstance(address, UnixAddress) or address.host == "localhost":
        return True
    return ipaddress.ip_address(address.host).is_loopback


def is_loopback_name(name: str) -> bool:
    """Tell whether a name or an address stands for this machine (RFC 6761 section 6.3)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _socket_path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError("a socket's path must be absolute")
    if len(text.encode()) > SOCKET_PATH_MAX:
        raise ValueError(f"a socket's path has at most {SOCKET_PATH_MAX} bytes")
    return path


def _listen(value: tuple[str, ...]) -> None:
    for text in value:
        parse_listen(text)


def _api_url(value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme == "unix":
        _socket_path(value.removeprefix("unix:").removeprefix("//"))
    elif parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be unix:/PATH, http://HOST:PORT or https://HOST:PORT")
    elif parts.port == 0:  # raises ValueError itself for what is no port
        raise ValueError("must name a port of 1 to 65535")


def _absolute(value: Path) -> None:
    if not value.is_absolute():
        raise ValueError("must be an absolute path")


def _absolute_or_empty(value: str) -> None:
    if value:
        _absolute(Path(value))


def _address(kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> Callable[[str], None]:
    def check(value: str) -> None:
        if value:
            kind(value)

    return check


def _keystone_url(value: str) -> None:
    parts = urlsplit(value)
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query):
        raise ValueError("must be http://HOST... or https://HOST..., without a user and without a query")


def _loopback(value: str) -> None:
    if value:
        address = parse_listen(value)
        if isinstance(address, UnixAddress) or not is_loopback(address):
            raise ValueError("must be an ADDRESS:PORT on loopback: whoever can connect reads them")


def _docker_socket(value: Path) -> None:
    _socket_path(str(value))


def _engine_socket(value: str) -> None:
    if value:
        _socket_path(value)


def _database(value: str) -> None:
    # The store gives the last word on a URL; this catches a path without a scheme.
    if not re.match(r"[a-z][a-z0-9+]*://", value):
        raise ValueError("must be a URL such as sqlite:////var/lib/portico/portico.db")


class VlanRange(NamedTuple):
    """VLAN IDs of a physical network, first and last."""

    physical_network: str
    first: int
    last: int


def parse_vlan_range(text: str) -> VlanRange:
    """Return the range that `text` names, as Neutron's network_vlan_ranges have them.

    Raises:
        ValueError: with the rule that `text` breaks.
    """
    name, *ends = text.split(":")
    if len(ends) != 2 or not all(end.isascii() and end.isdecimal() for end in ends):
        raise ValueError(f"'{text}' is not PHYSICAL_NETWORK:FIRST:LAST")
    _physical_network(name)
    first, last = map(int, ends)
    if not VLAN_MIN <= first <= last <= VLAN_MAX:
        raise ValueError(f"'{text}' is no range of VLAN IDs, which are {VLAN_MIN} to {VLAN_MAX}")
    return VlanRange(name, first, last)


def _vlan_ranges(value: tuple[str, ...]) -> None:
    for text in value:
        parse_vlan_range(text)


def _physical_network(name: str) -> None:
    if not PHYSICAL_NETWORK.fullmatch(name):
        raise ValueError(f"'{name}' must be 1 to 64 letters, digits, dots, dashes or underscores")


def _physical_networks(value: Mapping[str, str]) -> None:
    for name, interface in value.items():
        _physical_network(name)
        if not INTERFACE.fullmatch(interface):
            raise ValueError(f"'{interface}' of '{name}' is no link's name: 1 to 15 characters without space or slash")
        if [*value.values()].count(interface) > 1:
            raise ValueError(f"'{interface}' is the interface of two physical networks")


def _mac_base(value: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){2}", value):
        raise ValueError("must be three octets such as fa:16:3e, in lower case")
    if int(value[:2], 16) & 1:
        raise ValueError("is a group address (IEEE 802): the lowest bit of the first octet must be 0")


def _matches(pattern: re.Pattern[str], rule: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        if not pattern.fullmatch(value):
            raise ValueError(rule)

    return check


def _ipv4_pool(value: str) -> None:
    ipaddress.IPv4Network(value)


def _ipv6_pool(value: str) -> None:
    ipaddress.IPv6Network(value)


def _ipv6_pool_or_empty(value: str) -> None:
    if value:
        _ipv6_pool(value)


CHECKS: Mapping[str, Callable[[Any], None]] = {
    "host": _matches(HOST, "must be 1 to 255 characters without space or slash"),
    "state_dir": _absolute,
    "run_dir": _absolute,
    "database": _database,
    "listen": _listen,
    "api_url": _api_url,
    "api_password_file": _absolute_or_empty,
    "api_ca": _absolute_or_empty,
    "api_certificate": _absolute_or_empty,
    "http_basic.file": _absolute_or_empty,
    "keystone.auth_url": _keystone_url,
    "keystone.public_url": _keystone_url,
    "keystone.ca_file": _absolute_or_empty,
    "keystone.password_file": _absolute_or_empty,
    "keystone.application_credential_secret_file": _absolute_or_empty,
    "profile": _absolute_or_empty,
    "log.audit_file": _absolute_or_empty,
    "metrics.listen": _loopback,
    "tls.certificate": _absolute_or_empty,
    "tls.key": _absolute_or_empty,
    "tls.client_ca": _absolute_or_empty,
    "agent.address_v4": _address(ipaddress.IPv4Address),
    "agent.address_v6": _address(ipaddress.IPv6Address),
    "agent.netns": _matches(NETNS_NAME, "must be 1 to 64 letters, digits, dots, dashes or underscores"),
    "agent.physical_networks": _physical_networks,
    "agent.availability_zone": _matches(ZONE, "must be 1 to 255 characters without space, comma or slash"),
    "docker.socket": _docker_socket,
    "docker.engine_socket": _engine_socket,
    "docker.ipv4_pool": _ipv4_pool,
    "docker.ipv6_pool": _ipv6_pool,
    "docker.external_subnet": _ipv4_pool,
    "docker.external_ipv6_subnet": _ipv6_pool_or_empty,
    "neutron.auth_url": _keystone_url,
    "neutron.endpoint": _keystone_url,
    "neutron.ca_file": _absolute_or_empty,
    "neutron.clouds_file": _absolute_or_empty,
    "neutron.password_file": _absolute_or_empty,
    "network.mac_base": _mac_base,
    "network.vlan_ranges": _vlan_ranges,
    "network.dns_domain": _matches(DOMAIN, "must be a domain name (RFC 1035 section 2.3.1)"),
}


def problem(name: str, value: object) -> str:
    """Return the rule that `value` breaks as the setting `name`; empty if none."""
    check = CHECKS.get(name)
    if check is None:
        return ""
    try:
        check(value)
    except ValueError as error:
        return str(error)
    return ""


def conflict(values: Mapping[str, Any]) -> tuple[str, str]:
    """Return the setting that does not go with others, and why; two empty texts if all go together."""
    for version in (4, 6):
        name = f"docker.ipv{version}_prefix_length"
        pool = values[f"docker.ipv{version}_pool"]
        if values[name] < ipaddress.ip_network(pool).prefixlen:
            return name, f"must not be less than the prefix length of docker.ipv{version}_pool = '{pool}'"
    return _identity(values) or _remote(values) or ("", "")


def _remote(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return which setting about the remote of the neutron backend goes without another, and why."""
    if "neutron" not in values["backends"]:
        return None
    if not (values["neutron.cloud"] or values["neutron.auth_url"] or values["neutron.endpoint"]):
        return "neutron.endpoint", "backend neutron needs neutron.cloud, neutron.auth_url or neutron.endpoint"
    if values["neutron.clouds_file"] and not values["neutron.cloud"]:
        return "neutron.clouds_file", "needs neutron.cloud"
    for name in ("username", "password_file", "project_name"):
        if values["neutron.auth_url"] and not values[f"neutron.{name}"]:
            return f"neutron.{name}", "must be given with neutron.auth_url"
    if values["neutron.username"] and not values["neutron.password_file"]:
        return "neutron.password_file", "must be given with neutron.username"
    return None


def _identity(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return which setting about who may use the API goes without another, and why."""
    for text in values["listen"]:
        if values["auth"] == "none" and not is_loopback(parse_listen(text)):
            return "listen", f"{text} is not on loopback, and auth = 'none' lets in everybody who can connect"
    needed = {"http_basic": "http_basic.file", "keystone": "keystone.auth_url"}.get(values["auth"])
    if needed and not values[needed]:
        return needed, f"must be given with auth = '{values['auth']}'"
    if bool(values["tls.certificate"]) != bool(values["tls.key"]):
        return "tls.key", "goes with tls.certificate: both or neither"
    if values["tls.client_ca"] and not values["tls.certificate"]:
        return "tls.client_ca", "needs tls.certificate"
    if bool(values["api_user"]) != bool(values["api_password_file"]):
        return "api_password_file", "goes with api_user: both or neither"
    return None
