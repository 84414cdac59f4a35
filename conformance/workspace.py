# SPDX-License-Identifier: Apache-2.0
"""What the suites must find: settings of theirs, and objects that they take for granted in a cloud."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from conformance import BIN
from conformance.agents import PHYSICAL_NETWORK
from conformance.keystone import ADMIN, REGION, Keystone


@dataclass(frozen=True, slots=True)
class Cloud:
    """What the suites must be told of the API under test."""

    public_network_id: str
    extensions: tuple[str, ...]


def prepare(network_url: str, identity: Keystone) -> Cloud:
    """Make an external network and default subnet pools through the API, and ask which extensions it has."""
    headers = {"X-Auth-Token": identity.token(ADMIN)}
    with httpx.Client(base_url=f"{network_url}/v2.0", headers=headers, timeout=60) as client:
        listed = client.get("/extensions").raise_for_status().json()["extensions"]
        public = _make(client, "network", {"name": "public", "router:external": True})
        for subnet in PUBLIC_SUBNETS:
            _make(client, "subnet", {"network_id": public["id"], "enable_dhcp": False, **subnet})
        for pool in DEFAULT_POOLS:
            _make(client, "subnetpool", {"is_default": True, "shared": True, **pool})
    return Cloud(public["id"], tuple(sorted(extension["alias"] for extension in listed)))


def _make(client: httpx.Client, kind: str, body: Mapping[str, object]) -> dict[str, Any]:
    answer = client.post(f"/{kind}s", json={kind: body})
    if answer.is_error:
        raise RuntimeError(f"{kind} {body['name']}: {answer.status_code} {answer.text}")
    made: dict[str, Any] = answer.json()[kind]
    return made


PUBLIC_SUBNETS: tuple[Mapping[str, object], ...] = (
    {"name": "public-ipv4", "ip_version": 4, "cidr": "203.0.113.0/24"},
    {"name": "public-ipv6", "ip_version": 6, "cidr": "2001:db8::/64"},
)
DEFAULT_POOLS: tuple[Mapping[str, object], ...] = (
    {"name": "default-ipv4", "prefixes": ["10.0.0.0/16"], "default_prefixlen": 26},
    {"name": "default-ipv6", "prefixes": ["fd00:abcd::/56"], "default_prefixlen": 64},
)


def write(folder: Path, cloud: Cloud, identity: Keystone) -> None:
    """Write `.stestr.conf` and `tempest.conf` into a folder, where stestr(1) is then run."""
    [discovery] = BIN.parent.glob("lib/python*/site-packages/tempest/test_discover")
    sections = {"DEFAULT": {"test_path": discovery, "top_dir": discovery.parents[1], "group_regex": r"([^\.]*\.)*"}}
    _write(folder / ".stestr.conf", sections)
    _write(folder / "tempest.conf", tempest_sections(folder, cloud, identity))


def _write(path: Path, sections: Mapping[str, Mapping[str, object]]) -> None:
    config = configparser.RawConfigParser()
    for name, options in sections.items():
        if name != config.default_section:
            config.add_section(name)
        for option, value in options.items():
            config.set(name, option, str(value))
    with path.open("w") as file:
        config.write(file)


def tempest_sections(folder: Path, cloud: Cloud, identity: Keystone) -> dict[str, dict[str, object]]:
    """Return the sections of tempest.conf (tempest's configuration reference)."""
    return {
        "DEFAULT": {"log_dir": folder, "log_file": "tempest.log", "use_stderr": False},
        "oslo_concurrency": {"lock_path": folder / "locks"},
        "auth": {
            "use_dynamic_credentials": True,
            "admin_username": ADMIN.user,
            "admin_password": ADMIN.password,
            "admin_project_name": ADMIN.project,
            "admin_domain_name": "Default",
            "tempest_roles": "member",
        },
        "identity": {"auth_version": "v3", "uri_v3": identity.url, "region": REGION, "default_domain_id": "default"},
        "identity-feature-enabled": {"api_v3_only": True},
        "service_available": {
            "neutron": True,
            **dict.fromkeys(("cinder", "glance", "horizon", "nova", "swift"), False),
        },
        "network": {
            "region": REGION,
            "public_network_id": cloud.public_network_id,
            "floating_network_name": "public",
            "project_network_cidr": "10.100.0.0/16",
            "project_network_mask_bits": 28,
        },
        "network-feature-enabled": {
            "api_extensions": ",".join(cloud.extensions),
            "ipv6": True,
            "ipv6_subnet_attributes": True,
            "port_admin_state_change": True,
            "port_security": True,
        },
        "validation": {"run_validation": False},
        "neutron_plugin_options": {
            "agent_availability_zone": "default",
            "available_type_drivers": "local,flat,vlan",
            "provider_vlans": PHYSICAL_NETWORK,
            "create_shared_resources": True,
            "max_mtu": 65535,
            "max_networks_per_project": 4,
        },
    }
