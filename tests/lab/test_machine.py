# SPDX-License-Identifier: Apache-2.0
"""What every lab builds on; when this fails, the rest of the folder will too."""

from __future__ import annotations

import json
import subprocess

import pytest

pytestmark = pytest.mark.lab


def test_a_new_namespace_sees_no_link_of_the_host_and_can_have_a_bridge_with_a_port() -> None:
    script = "ip link add br0 type bridge && ip link add p0 type veth peer name p1 && ip link set p0 master br0"
    script += " && ip -j link"
    run = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, check=True, timeout=20
    )
    links = {link["ifname"]: link for link in json.loads(run.stdout)}
    assert {"br0", "p0", "p1"} <= set(links)
    assert "eth0" not in links
    assert links["p0"]["master"] == "br0"
