# SPDX-License-Identifier: Apache-2.0
"""What docs/clients.md says of Ansible and of Keystone, with the collection and the command of this environment."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance.keystone import ADMIN, Keystone

from conformance import BIN, portico, process

TIMEOUT_S = 300
DOCUMENT = Path(__file__).parents[2] / "docs/clients.md"
BLOCK = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RECAP = re.compile(r"changed=(\d+) .*failed=(\d+) ")

Openstack = Callable[[str], Any]


def blocks(name: str) -> list[str]:
    """Return the files of this name that the document shows."""
    return [text for found, text in BLOCK.findall(DOCUMENT.read_text()) if found == name]


def own(folder: Path) -> dict[str, str]:
    """Return variables for a client that finds its files in a folder.

    Each command and each task of a playbook is a Python of its own: the SDK is compiled once for all of them.
    """
    return {"HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


@pytest.fixture
def anybody(tmp_path: Path) -> Iterator[Path]:
    """A folder with the `clouds.yaml` of an API that asks nobody who they are."""
    with portico.running({}) as server:
        clouds = blocks("clouds.yaml")[0]
        assert "auth_type: none" in clouds
        (tmp_path / "clouds.yaml").write_text(clouds.replace("http://127.0.0.1:9696", server.url))
        yield tmp_path


def play(folder: Path, name: str) -> int:
    """Run a playbook of the document; returns how many tasks changed something."""
    (text,) = blocks(name)
    (folder / name).write_text(text)
    environment = {
        **own(folder),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_INVENTORY": "localhost,",
        "ANSIBLE_PYTHON_INTERPRETER": str(BIN / "python"),
        "LC_ALL": "C.UTF-8",
    }
    argv = [str(BIN / "ansible-playbook"), "--connection", "local", name]
    out = process.run(argv, environment, folder=folder, timeout_s=TIMEOUT_S)
    (recap,) = RECAP.findall(out)
    assert recap[1] == "0", out
    return int(recap[0])


def test_the_playbook_creates_then_changes_nothing_and_its_counterpart_deletes(anybody: Path) -> None:
    tasks = blocks("shop.yaml")[0].count("      openstack.cloud.")
    assert play(anybody, "shop.yaml") == tasks
    assert play(anybody, "shop.yaml") == 0
    kinds = ("ports", "networks", "subnets", "subnet_pools", "address_scopes", "security_groups")
    assert counted(anybody, kinds) == dict.fromkeys(kinds, 1) | {"security_groups": 2}
    assert play(anybody, "no-shop.yaml") == blocks("no-shop.yaml")[0].count("      openstack.cloud.")
    assert counted(anybody, kinds) == dict.fromkeys(kinds, 0) | {"security_groups": 1}


def counted(folder: Path, kinds: tuple[str, ...]) -> dict[str, int]:
    script = (
        "import json, openstack; network = openstack.connect(cloud='portico').network;"
        f"print(json.dumps({{kind: len(list(getattr(network, kind)())) for kind in {kinds}}}))"
    )
    out = process.run(
        [str(BIN / "python"), "-W", "ignore", "-c", script], own(folder), folder=folder, timeout_s=TIMEOUT_S
    )
    found: dict[str, int] = json.loads(out)
    return found


@pytest.fixture
def cloud(identity: Keystone, tmp_path: Path) -> Iterator[Openstack]:
    """Run `openstack` as an administrator whom the `clouds.yaml` for Keystone names; returns what it prints."""
    secret = tmp_path / "secret"
    secret.mkdir()
    with portico.running(portico.identity_settings(identity, secret)) as server:
        identity.publish(server.url)
        clouds = blocks("clouds.yaml")[2].replace("http://127.0.0.1:5000/v3", identity.url)
        clouds = clouds.replace("red-member", ADMIN.user).replace(
            "project_name: red\n", f"project_name: {ADMIN.project}\n"
        )
        (tmp_path / "clouds.yaml").write_text(clouds)

        def run(words: str) -> Any:
            prints = not {"create", "list", "show"}.isdisjoint(words.split())
            argv = [
                str(BIN / "openstack"),
                "--os-cloud",
                "portico",
                *words.split(),
                *(["-f", "json"] if prints else []),
            ]
            out = process.run(argv, own(tmp_path), folder=tmp_path, timeout_s=TIMEOUT_S)
            return json.loads(out) if prints else None

        yield run


def test_with_keystone_the_command_knows_projects_by_their_names(cloud: Openstack, identity: Keystone) -> None:
    red = identity.id_of("project", "red")
    assert cloud("network create shop --project red")["project_id"] == red
    cloud("quota set --networks 7 --secgroups 9 red")
    limits = {row["Resource"]: row["Limit"] for row in cloud("quota show --network red")}
    assert (limits["networks"], limits["security_groups"]) == (7, 9)
    assert [row["Project ID"] for row in cloud("quota list --network")] == [red]
    blue = identity.id_of("project", "blue")
    made = cloud("network rbac create --type network --action access_as_shared --target-project blue shop")
    assert made["target_project_id"] == blue
    assert [row["ID"] for row in cloud("network rbac list --target-project blue")] == [made["id"]]
    cloud("quota delete --network red")
