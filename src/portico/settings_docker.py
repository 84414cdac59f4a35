# SPDX-License-Identifier: Apache-2.0
"""Settings of the Docker plugin. docs/docker.md and docs/published-ports.md explain them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta


class DockerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The Docker plugin's own."""

    enabled: Annotated[bool, Meta(description="whether `portico up` starts the Docker plugin")] = True
    socket: Annotated[Path, Meta(description="socket that the Docker Engine looks for")] = Path(
        "/run/docker/plugins/portico.sock"
    )
    engine_socket: Annotated[
        str,
        Meta(description="socket of the Docker Engine, asked which networks and containers it has; empty: not asked"),
    ] = "/run/docker.sock"
    sweep_s: Annotated[
        float,
        Meta(ge=1, description="seconds between two looks for what crashes left behind; it goes in the second look"),
    ] = 60
    ipv4_pool: Annotated[str, Meta(description="IPv4 prefix that networks without --subnet are cut from")] = (
        "10.192.0.0/10"
    )
    ipv4_prefix_length: Annotated[int, Meta(ge=8, le=29, description="size of each such IPv4 subnet")] = 24
    ipv6_pool: Annotated[str, Meta(description="IPv6 prefix that networks without --subnet are cut from")] = (
        "fd70:6f72:7469::/48"
    )
    ipv6_prefix_length: Annotated[int, Meta(ge=48, le=125, description="size of each such IPv6 subnet")] = 64
    gateways: Annotated[
        bool, Meta(description="whether networks that are not --internal get a router with a gateway outside")
    ] = True
    external_network: Annotated[
        str,
        Meta(description="external network, by id or name, of those routers; empty: the default one, else the host's"),
    ] = ""
    external_subnet: Annotated[
        str, Meta(description="IPv4 subnet of the network behind the host, where the plugin has to make it")
    ] = "100.64.0.0/16"
    external_ipv6_subnet: Annotated[
        str, Meta(description="IPv6 subnet of the same; empty: none, and containers reach nothing outside by IPv6")
    ] = "fd70:6f72:7468::/64"
