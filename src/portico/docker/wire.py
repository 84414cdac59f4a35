# SPDX-License-Identifier: Apache-2.0
"""The bodies of libnetwork's remote driver calls, as Docker 20.10 to 29 send them.

Source: moby, libnetwork/docs/remote.md and ipam.md, and what engines were seen to send.
"""

from __future__ import annotations

from typing import Any

import msgspec

Options = dict[str, Any]
Answer = dict[str, Any]

_WORDS = {"id": "ID", "ipv4": "IPv4", "ipv6": "IPv6"}


def _name(field: str) -> str:
    """Return a field's name on the wire: `ipv4_data` is `IPv4Data`."""
    return "".join(_WORDS.get(word, word.capitalize()) for word in field.split("_"))


class Call(msgspec.Struct, frozen=True, rename=_name):
    """The body of a call; keys that Portico does not need are passed over."""


class RequestPool(Call, frozen=True):
    """`pool` is --subnet or empty; `sub_pool` is --ip-range; `options` are --ipam-opt."""

    address_space: str = ""
    pool: str = ""
    sub_pool: str = ""
    options: Options | None = None
    v6: bool = False


class ReleasePool(Call, frozen=True):
    """`pool_id` is a PoolID that RequestPool gave."""

    pool_id: str


class RequestAddress(Call, frozen=True):
    """`address` is empty or an address that was asked for."""

    pool_id: str
    address: str = ""
    options: Options | None = None


class ReleaseAddress(Call, frozen=True):
    """`address` is without a prefix length."""

    pool_id: str
    address: str


class PoolData(Call, frozen=True):
    """A pool as the network driver sees it, without its PoolID. Gateway and auxiliary addresses are CIDRs."""

    address_space: str = ""
    pool: str = ""
    gateway: str = ""
    aux_addresses: dict[str, str] | None = None


class CreateNetwork(Call, frozen=True):
    """`options` holds -o under its own key; the network's name is not sent."""

    network_id: str
    options: Options | None = None
    ipv4_data: list[PoolData] | None = None
    ipv6_data: list[PoolData] | None = None


class DeleteNetwork(Call, frozen=True):
    """Comes after the pools were released."""

    network_id: str


class Interface(Call, frozen=True):
    """Addresses are CIDRs; what is empty is for the driver to choose."""

    address: str = ""
    address_ipv6: str = ""
    mac_address: str = ""


class CreateEndpoint(Call, frozen=True):
    """`options` holds --driver-opt and the exposed ports."""

    network_id: str
    endpoint_id: str
    interface: Interface | None = None
    options: Options | None = None


class External(Call, frozen=True):
    """Published ports of an endpoint (ProgramExternalConnectivity); `options` as in CreateEndpoint."""

    network_id: str
    endpoint_id: str
    options: Options | None = None


class Endpoint(Call, frozen=True):
    """What Join, Leave, DeleteEndpoint and EndpointOperInfo have in common; `sandbox_key` (Join) is a netns's path."""

    network_id: str
    endpoint_id: str
    sandbox_key: str = ""
