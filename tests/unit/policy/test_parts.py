# SPDX-License-Identifier: Apache-2.0
"""Who may do what with objects that are parts of others: it may hang on whose the others are."""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path

import pytest

from portico.api import collection
from portico.errors import Forbidden, NotFound
from portico.model.load import load
from portico.policy.policy import Policy
from portico.store import schema
from portico.store.store import Store

from .asker import Asker

MODELS = {
    "vpn.yaml": "{resource: vpn, plural: vpns, extends: service, policy: {get: ''}, doc: A VPN.}",
    "tunnel.yaml": (
        "{resource: tunnel, plural: tunnels, extends: service, parent: vpn, doc: A tunnel.,"
        " policy: {create: 'rule:ours', get: 'rule:ours', delete: 'rule:ours'},"
        " attributes: {vpn_id: {allow_post: false, references: vpn, doc: The VPN.}}}"
    ),
}


def test_another_project_neither_sees_nor_has_forwardings_of_a_floating_ip(
    red: Asker, blue: Asker, root: Asker
) -> None:
    outside = root.create("network", **{"router:external": True})
    root.create("subnet", network_id=outside["id"], cidr="198.51.100.0/24", ip_version=4)
    inside = red.create("network")
    subnet = red.create("subnet", network_id=inside["id"], cidr="192.0.2.0/24", ip_version=4)
    router = red.create("router", external_gateway_info={"network_id": outside["id"]})
    about = red.service, red.resources["router"], red.context, router["id"], "add_router_interface"
    collection.act(*about, {"subnet_id": subnet["id"]})
    port = red.create("port", network_id=inside["id"])
    floating = red.create("floatingip", floating_network_id=outside["id"])
    body = {
        "protocol": "tcp", "external_port": 80, "internal_port": 80, "internal_port_id": port["id"],
        "internal_ip_address": port["fixed_ips"][0]["ip_address"],
    }  # fmt: skip
    kind = red.resources["port_forwarding"]

    def make(asker: Asker, whose: str, **more: object) -> str:
        wrapped = {kind.name: body | more}
        return str(collection.create(asker.service, kind, asker.context, wrapped, whose)[kind.name]["id"])

    made = make(red, floating["id"])
    with pytest.raises(Forbidden, match="host_addresses"):
        make(red, floating["id"], **{"external_port": 81, "portico:host_addresses": ["192.0.2.1"]})
    assert floating["id"] not in [row["id"] for row in blue.list("floatingip")]
    own = blue.create("floatingip", floating_network_id=outside["id"])
    with pytest.raises(NotFound, match="Floating IP"):
        make(blue, floating["id"])
    with pytest.raises(NotFound, match="Port"):
        make(blue, own["id"])
    with pytest.raises(NotFound):
        blue.update("floatingip", own["id"], port_id=port["id"])
    for whose in (floating["id"], own["id"]):
        with pytest.raises(NotFound):
            collection.show(blue.service, kind, blue.context, made, (), whose)
    with pytest.raises(Forbidden, match="floating_ip_address"):
        blue.create("floatingip", floating_network_id=outside["id"], floating_ip_address="198.51.100.77")


def test_only_the_parent_s_owner_has_its_parts(tmp_path: Path) -> None:
    for name, text in MODELS.items():
        (tmp_path / name).write_text(text)
    registry = load([tmp_path])
    (tmp_path / "policy.yml").write_text("ours: 'tenant_id:%(ext_parent:tenant_id)s'\n")
    store = Store(f"sqlite:///{tmp_path}/portico.db", registry)
    schema.ensure(store)
    policy = Policy(registry, tmp_path / "policy.yml")
    red, blue = (Asker(store, policy, name, "member", "reader") for name in ("red", "blue"))
    vpn = str(uuid.uuid4())
    with store.write() as tx:
        tx.insert("vpn", {"id": vpn, "name": "a", "project_id": "red"})
    tunnel = registry.resources["tunnel"]
    made = str(uuid.uuid4())
    with store.write() as tx:
        tx.insert("tunnel", {"id": made, "name": "", "project_id": "red", "vpn_id": vpn})
    assert len(collection.list_objects(red.service, tunnel, red.context, (), "", vpn)["tunnels"]) == 1
    assert blue.show("vpn", vpn)["name"] == "a"
    assert collection.list_objects(blue.service, tunnel, blue.context, (), "", vpn)["tunnels"] == []
    with pytest.raises(Forbidden, match="create_vpn_tunnel"):
        collection.create(blue.service, tunnel, blue.context, {"tunnel": {}}, vpn)
    with pytest.raises(NotFound):
        collection.delete(blue.service, tunnel, blue.context, made, None, vpn)
    collection.delete(red.service, tunnel, red.context, made, None, vpn)
    store.close()


def test_another_project_neither_sees_nor_has_ndp_proxies(red: Asker, blue: Asker, root: Asker) -> None:
    scope = root.create("address_scope", ip_version=6, shared=True)
    body = {"prefixes": ["2001:db8::/32"], "default_prefixlen": 64, "shared": True}
    pool = root.create("subnetpool", name="p", address_scope_id=scope["id"], **body)
    outside = root.create("network", **{"router:external": True})
    inside = red.create("network")
    for asker, network in ((root, outside), (red, inside)):
        subnet = asker.create("subnet", network_id=network["id"], ip_version=6, subnetpool_id=pool["id"])
    router = red.create("router", enable_ndp_proxy=True, external_gateway_info={"network_id": outside["id"]})
    about = red.service, red.resources["router"], red.context, router["id"], "add_router_interface"
    collection.act(*about, {"subnet_id": subnet["id"]})
    port = red.create("port", network_id=inside["id"])
    made = red.create("ndp_proxy", router_id=router["id"], port_id=port["id"])
    assert blue.list("ndp_proxy") == [] != red.list("ndp_proxy")
    for act in (blue.show, blue.delete, partial(blue.update, name="x")):
        with pytest.raises(NotFound, match="Ndp proxy"):
            act("ndp_proxy", made["id"])
    with pytest.raises(NotFound, match="Port"):
        blue.create("ndp_proxy", router_id=router["id"], port_id=port["id"])
    own = blue.create("port", network_id=blue.create("network")["id"])
    with pytest.raises(NotFound, match="Router"):
        blue.create("ndp_proxy", router_id=router["id"], port_id=own["id"])


def test_another_project_neither_sees_nor_has_conntrack_helpers_of_a_router(red: Asker, blue: Asker) -> None:
    kind = red.resources["conntrack_helper"]
    body = {kind.name: {"helper": "ftp", "protocol": "tcp", "port": 21}}
    mine, other = red.create("router"), blue.create("router")
    made = collection.create(red.service, kind, red.context, body, mine["id"])[kind.name]["id"]
    for whose in (mine["id"], other["id"]):
        with pytest.raises(NotFound):
            collection.show(blue.service, kind, blue.context, made, (), whose)
        with pytest.raises(NotFound):
            collection.delete(blue.service, kind, blue.context, made, None, whose)
    with pytest.raises(NotFound, match="Router"):
        collection.create(blue.service, kind, blue.context, body, mine["id"])
    assert len(red.show("router", mine["id"])["conntrack_helpers"]) == 1
