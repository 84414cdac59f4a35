# SPDX-License-Identifier: Apache-2.0
"""Who may do what with objects that are parts of others: it may hang on whose the others are."""

from __future__ import annotations

import uuid
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
