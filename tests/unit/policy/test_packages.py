# SPDX-License-Identifier: Apache-2.0
"""Who may do what with resources of other packages."""

from __future__ import annotations

from pathlib import Path

from portico.model.load import load
from portico.policy.policy import Policy, texts


def test_owners_may_do_all_unless_the_model_or_the_file_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "vpn.yaml").write_text(
        "resource: vpn\nplural: vpns\nextends: service\ndoc: A VPN.\n"
        "policy: {create: 'rule:admin_only', 'update:name': '!', get: ''}\n"
    )
    (tmp_path / "policy.yml").write_text("get_vpn: 'rule:admin_only'\n")
    registry = load([tmp_path])
    found = {name: check for name, check in texts(None, registry).items() if "vpn" in name}
    assert found == {
        "create_vpn": "rule:admin_only",
        "get_vpn": "",
        "update_vpn": "rule:project_member",
        "update_vpn:name": "!",
        "delete_vpn": "rule:project_member",
    }
    assert texts(tmp_path / "policy.yml", registry)["get_vpn"] == "rule:admin_only"
    Policy(registry, tmp_path / "policy.yml")
