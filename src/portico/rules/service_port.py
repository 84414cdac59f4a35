# SPDX-License-Identifier: Apache-2.0
"""Ports that no workload has but the network itself: a DHCP server's, a router's, a floating IP's.

No host has them: each is realised wherever it is needed.
"""

from __future__ import annotations

import uuid

from portico.model.snapshot import UNBOUND
from portico.rules import mac
from portico.rules.context import Context, Row


def row_of(context: Context, network_id: str, owner: str, device_id: str, project_id: str) -> Row:
    """Return the row of a new one without addresses; `owner` is its device_owner."""
    return {
        "id": str(uuid.uuid4()),
        "project_id": project_id,
        "network_id": network_id,
        "name": "",
        "description": "",
        "mac_address": mac.generate(context.limits.mac_base),
        "admin_state_up": True,
        "status": "ACTIVE",
        "device_id": device_id,
        "device_owner": owner,
        "fixed_ips": [],
        "port_security_enabled": False,
        "security_groups": [],
        "allowed_address_pairs": [],
        "extra_dhcp_opts": [],
        "dns_name": "",
        "dns_domain": "",
        "tags": [],
        "ip_allocation": "none",
        "propagate_uplink_status": True,
        "binding:host_id": "",
        "binding:profile": {},
        "binding:vnic_type": "normal",
        "binding:vif_type": UNBOUND,
        "binding:vif_details": {},
    }
