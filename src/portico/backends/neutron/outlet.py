# SPDX-License-Identifier: Apache-2.0
"""How a port is plugged into the remote's data plane on its host, from the binding that the remote answered. Pure.

Names that a VIF type leaves open are those by which Nova and Neutron's agents know them: the device `tap` and 11
characters of the port's id (nova.network.model.NIC_NAME_LEN), the bridges `br-int` and `brq` with 11 of the network's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from portico.contract import Binding
from portico.hoststate import Outlet
from portico.model.snapshot import Port

Row = Mapping[str, Any]

_WAYS: Mapping[str, Literal["bridge", "ovs", "tap", "link"]] = {
    "bridge": "bridge",
    "ovs": "ovs",
    "tap": "tap",
    "veth": "link",
}


class NotPlugged(Exception):
    """The remote's binding is of a kind that no agent of ours plugs; the text says which."""


def of(port: Port, row: Row, mtu: int) -> Outlet:
    """Return what the port's host is to do.

    Raises:
        NotPlugged: nothing can be done.
    """
    vif_type, details = row["binding:vif_type"], row.get("binding:vif_details") or {}
    way = _WAYS.get(vif_type)
    if way is None:
        raise NotPlugged(f"binding:vif_type '{vif_type}' of the remote is plugged by no agent: {', '.join(_WAYS)} are")
    named = details.get("tap_name") if way == "tap" else details.get("link_name") if way == "link" else None
    bridge = details.get("bridge_name") or {"ovs": "br-int", "bridge": f"brq{row['network_id'][:11]}"}.get(way, "")
    outlet = Outlet(port_id=port.id, mac=port.mac, mtu=mtu, device=named or f"tap{row['id'][:11]}", way=way)
    if way == "link":
        return outlet
    made: dict[str, Any] = {"bridge": bridge if way != "tap" else "", "interface_id": row["id"] if way == "ovs" else ""}
    if port.plug == "veth":
        return msgspec.structs.replace(outlet, plug="veth", link_name=f"pv{port.id[:11]}", **made)
    return msgspec.structs.replace(outlet, make_tap=bool(port.profile.get("make_tap")), **made)


def binding(row: Row, outlet: Outlet | None) -> Binding:
    """Return the remote's binding as our port shows it, with the link that its consumer takes."""
    details = dict(row.get("binding:vif_details") or {})
    if outlet is not None and outlet.way != "link":
        if outlet.plug == "veth":
            details["link_name"] = outlet.link_name
        else:
            details["tap_name"] = outlet.device
    return Binding(vif_type=row["binding:vif_type"], vif_details=details)
