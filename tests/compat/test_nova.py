# SPDX-License-Identifier: Apache-2.0
"""What a port's binding tells Nova's libvirt driver is what that driver makes of a tap.

Nova is not installed for this: its tests alone are heavier than Portico. The facts are from its sources:
nova/network/neutron.py (`devname`, the attributes of a binding), nova/network/model.py (`VIF_TYPE_TAP`,
`VIF_DETAILS_TAP_MAC_ADDRESS`), nova/virt/libvirt/vif.py (`plug_tap`, `get_config_tap`, `unplug_tap`) and
nova/network/os_vif_util.py, where vif_type "tap" is one of those that os-vif has no part in. Names that neutron-lib
defines are taken from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from neutron_lib.api.definitions import portbindings

from portico.errors import Unsupported
from portico.settings import load
from portico.testing.in_process import InProcessApi

Row = dict[str, Any]

NIC_NAME_LEN = 14  # nova/network/model.py
TAP_MAC_ADDRESS = "mac_address"  # nova/network/model.py, VIF_DETAILS_TAP_MAC_ADDRESS
BINDING: Row = {  # as nova/network/neutron.py sends it for an instance without PCI devices
    "device_id": "0d5b6ed4-3b6f-4b7a-a1b1-000000000001",
    "device_owner": "compute:nova",
    portbindings.HOST_ID: "compute-1",
    portbindings.VNIC_TYPE: portbindings.VNIC_NORMAL,
    portbindings.PROFILE: {},
}


@pytest.fixture
def api(tmp_path: Path) -> InProcessApi:
    empty = tmp_path / "empty.toml"
    empty.touch()
    return InProcessApi(load(empty, {"state_dir": str(tmp_path)}, {}))


@pytest.fixture
def network(api: InProcessApi) -> Row:
    network = api.create("networks", {"name": "blue", "mtu": 1450})
    api.create("subnets", {"network_id": network["id"], "cidr": "192.0.2.0/24", "ip_version": 4})
    return network


def test_a_port_that_nova_binds_is_a_tap_that_it_filters_no_more(api: InProcessApi, network: Row) -> None:
    port = api.create("ports", {"network_id": network["id"], **BINDING})
    assert port[portbindings.VIF_TYPE] == portbindings.VIF_TYPE_TAP
    details = port[portbindings.VIF_DETAILS]
    assert details[portbindings.CAP_PORT_FILTER] is True
    assert details[portbindings.VIF_DETAILS_CONNECTIVITY] == portbindings.CONNECTIVITY_L2


def test_the_tap_that_nova_makes_is_the_one_that_the_agent_waits_for(api: InProcessApi, network: Row) -> None:
    port = api.create("ports", {"network_id": network["id"], **BINDING})
    assert port[portbindings.VIF_DETAILS]["tap_name"] == f"tap{port['id']}"[:NIC_NAME_LEN]
    # Nova would give it to the host's end, which would then claim the machine's own address.
    assert TAP_MAC_ADDRESS not in port[portbindings.VIF_DETAILS]


def test_a_port_made_before_is_bound_by_an_update_and_let_go_again(api: InProcessApi, network: Row) -> None:
    port = api.create("ports", {"network_id": network["id"]})
    assert port[portbindings.VIF_TYPE] == portbindings.VIF_TYPE_UNBOUND
    bound = api.update("ports", port["id"], BINDING)
    assert bound[portbindings.VIF_TYPE] == portbindings.VIF_TYPE_TAP
    free: Row = {"device_id": "", "device_owner": "", portbindings.HOST_ID: None, portbindings.PROFILE: {}}
    assert api.update("ports", port["id"], free)[portbindings.VIF_TYPE] == portbindings.VIF_TYPE_UNBOUND


def test_keys_of_novas_in_the_profile_are_kept(api: InProcessApi, network: Row) -> None:
    profile = {"migrating_to": "compute-2"}
    port = api.create("ports", {"network_id": network["id"], **BINDING, portbindings.PROFILE: profile})
    assert port[portbindings.PROFILE] == profile
    assert port[portbindings.VIF_TYPE] == portbindings.VIF_TYPE_TAP


def test_a_port_without_addresses_says_so_and_is_plugged_by_l2(api: InProcessApi, network: Row) -> None:
    """Nova takes it for its ip_allocation, and trusts that it is bound only where connectivity is l2."""
    bare = api.create("networks", {"name": "bare"})
    for where in (network, bare):
        port = api.create("ports", {"network_id": where["id"], "fixed_ips": []})
        assert (port["fixed_ips"], port["ip_allocation"]) == ([], "none")
        bound = api.update("ports", port["id"], BINDING)
        assert (bound["fixed_ips"], bound["ip_allocation"]) == ([], "none")
        assert bound[portbindings.VIF_DETAILS][portbindings.VIF_DETAILS_CONNECTIVITY] == portbindings.CONNECTIVITY_L2


def test_a_port_without_addresses_is_not_bound_where_there_is_no_l2(api: InProcessApi) -> None:
    network = api.create("networks", {"portico:backend": "routed"})
    port = api.create("ports", {"network_id": network["id"], "fixed_ips": []})
    with pytest.raises(Unsupported, match="needs 'no-address', which the routed backend does not realise"):
        api.update("ports", port["id"], BINDING)
    assert api.list("ports", id=port["id"])[0][portbindings.VIF_TYPE] == portbindings.VIF_TYPE_UNBOUND
