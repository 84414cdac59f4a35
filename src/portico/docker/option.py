# SPDX-License-Identifier: Apache-2.0
"""Options of `docker network create -o`, `--ipam-opt` and `--driver-opt`, and what else Docker puts in their maps."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from portico.errors import BadRequest

PREFIX = "portico."
NETWORK = "portico.network"
SUBNET = "portico.subnet"
PORT = "portico.port"
SECURITY_GROUPS = "portico.security-groups"
EXPOSE = "portico.expose"
BACKEND = "portico.backend"
DEFAULT_ROUTE = "portico.gateway"
EXTERNAL = "portico.external"
OF_IPAM = frozenset({NETWORK, SUBNET})
OF_NETWORK = frozenset({NETWORK, SUBNET, SECURITY_GROUPS, EXPOSE, BACKEND, DEFAULT_ROUTE, EXTERNAL})
OF_ENDPOINT = frozenset({PORT, SECURITY_GROUPS, EXPOSE})

# Docker's own keys (moby, libnetwork/netlabel/labels.go).
GENERIC = "com.docker.network.generic"
MTU = "com.docker.network.driver.mtu"
INTERNAL = "com.docker.network.internal"
EXPOSED_PORTS = "com.docker.network.endpoint.exposedports"
PORT_MAP = "com.docker.network.portmap"
ADDRESS_TYPE = "RequestAddressType"
GATEWAY = "com.docker.network.gateway"

PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
PUBLISHED_PROTOCOLS = ("tcp", "udp", "sctp")


class IpamOptions(msgspec.Struct, frozen=True):
    """What --ipam-opt says: an existing network or subnet, by id or name, or empty."""

    network: str = ""
    subnet: str = ""


class NetworkOptions(msgspec.Struct, frozen=True):
    """What -o says.

    `security_groups` None: the project's default group; `mtu` None: Portico's default; `backend` empty: Portico chooses
    it; `default_route`: whether the network may carry a container's, None: if it has one to offer; `internal`: it was
    made with --internal; `external`: the external network of its way out, empty: Portico chooses it.
    """

    network: str = ""
    subnet: str = ""
    security_groups: tuple[str, ...] | None = None
    expose: bool = False
    mtu: int | None = None
    backend: str = ""
    default_route: bool | None = None
    external: str = ""
    internal: bool = False


class ExposedPort(msgspec.Struct, frozen=True, order=True):
    """A port of `--expose` or of the inner side of `-p`."""

    protocol: str
    port: int


class PortMap(msgspec.Struct, frozen=True):
    """What `-p` says. `host_address` empty: all; `host_port` 0: any; up to `host_port_end`, if that is more: one."""

    protocol: str
    port: int
    host_address: str
    host_port: int
    host_port_end: int


class EndpointOptions(msgspec.Struct, frozen=True):
    """What --driver-opt says. `expose` None and `security_groups` None: as the network has it.

    `exposed` are the ports of `--expose` and `-p`, `published` the latter alone.
    """

    port: str = ""
    security_groups: tuple[str, ...] | None = None
    expose: bool | None = None
    exposed: tuple[ExposedPort, ...] = ()
    published: tuple[ExposedPort, ...] = ()


def of_ipam(options: Mapping[str, Any] | None) -> IpamOptions:
    """Return the options of RequestPool.

    Raises:
        BadRequest: an option of Portico's does not exist here.
    """
    given = _checked(options or {}, OF_IPAM, "--ipam-opt")
    return IpamOptions(given.get(NETWORK, ""), given.get(SUBNET, ""))


def of_network(options: Mapping[str, Any] | None) -> NetworkOptions:
    """Return the options of CreateNetwork; those of other drivers are passed over.

    Raises:
        BadRequest: an option of Portico's does not exist or has a wrong value.
    """
    generic = (options or {}).get(GENERIC) or {}
    given = _checked(generic, OF_NETWORK, "-o")
    return NetworkOptions(
        network=given.get(NETWORK, ""),
        subnet=given.get(SUBNET, ""),
        security_groups=_words(given),
        expose=_flag(given, EXPOSE) or False,
        mtu=_mtu(generic.get(MTU)),
        backend=given.get(BACKEND, ""),
        default_route=_flag(given, DEFAULT_ROUTE),
        external=given.get(EXTERNAL, ""),
        internal=bool((options or {}).get(INTERNAL)),
    )


def of_endpoint(options: Mapping[str, Any] | None) -> EndpointOptions:
    """Return the options of CreateEndpoint.

    Raises:
        BadRequest: an option of Portico's does not exist or has a wrong value.
    """
    everything = options or {}
    given = _checked(everything, OF_ENDPOINT, "--driver-opt")
    published = _ports(everything.get(PORT_MAP))
    exposed = {*published, *_ports(everything.get(EXPOSED_PORTS))}
    return EndpointOptions(
        given.get(PORT, ""), _words(given), _flag(given, EXPOSE), tuple(sorted(exposed)), tuple(sorted(published))
    )


def port_map(options: Mapping[str, Any] | None) -> tuple[PortMap, ...]:
    """Return what is to be published, of ProgramExternalConnectivity.

    Raises:
        BadRequest: of a protocol that is not realised.
    """
    found = []
    for item in (options or {}).get(PORT_MAP) or ():
        protocol = PROTOCOLS.get(item["Proto"], str(item["Proto"]))
        if protocol not in PUBLISHED_PROTOCOLS:
            raise BadRequest(f"Port {item['Port']}/{protocol} cannot be published: only tcp, udp and sctp can be.")
        numbers = (int(item.get(name) or 0) for name in ("HostPort", "HostPortEnd"))
        found.append(PortMap(protocol, item["Port"], str(item.get("HostIP") or ""), *numbers))
    return tuple(found)


def _ports(items: Collection[Mapping[str, Any]] | None) -> set[ExposedPort]:
    return {ExposedPort(PROTOCOLS[item["Proto"]], item["Port"]) for item in items or () if item["Proto"] in PROTOCOLS}


def _checked(options: Mapping[str, Any], known: Collection[str], flag: str) -> dict[str, str]:
    given = {name: str(value) for name, value in options.items() if name.startswith(PREFIX)}
    for name, value in given.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(sorted(known))}"
            raise BadRequest(f"Option {flag} {name} does not exist{hint}")
        if not value:
            raise BadRequest(f"Option {flag} {name} is empty.")
    return given


def _words(given: Mapping[str, str]) -> tuple[str, ...] | None:
    if SECURITY_GROUPS not in given:
        return None
    return tuple(word.strip() for word in given[SECURITY_GROUPS].split(",") if word.strip())


def _flag(given: Mapping[str, str], name: str) -> bool | None:
    if name not in given:
        return None
    value = given[name].lower()
    if value not in ("true", "false", "1", "0"):
        raise BadRequest(f"Option {name} '{given[name]}' is neither true nor false.")
    return value in ("true", "1")


def _mtu(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise BadRequest(f"Option {MTU} '{text}' is no number of bytes.")
    return int(text)
