# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/routers.md, docs/floating-ips.md and docs/logging.md as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from .conftest import Portico

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def lines(language: str, page: str = "routers") -> list[list[str]]:
    found = [text for kind, text in BLOCK.findall((DOCS / f"{page}.md").read_text()) if kind == language]
    return [shlex.split(line.removeprefix("# ")) for text in found for line in text.splitlines()]


def test_what_the_page_on_routers_has_people_type_works(portico: Portico) -> None:
    for word, *words in lines("sh"):
        assert word == "portico"
        done = portico(*words)
        assert done.code == 0, (words, done.err)
    assert portico("router", "list", "-f", "value").out == ""


def test_what_the_page_on_floating_ips_has_people_type_works(portico: Portico) -> None:
    for word, *words in lines("sh", "floating-ips"):
        assert word == "portico"
        done = portico(*words)
        assert done.code == 0, (words, done.err)
    [second] = [row for row in portico("floatingip", "list", "-f", "json").json if row["port_forwardings"]]
    for forwarding in second["port_forwardings"]:
        done = portico("port-forwarding", "delete", forwarding["id"], "--floatingip", second["floating_ip_address"])
        assert done.code == 0, done.err
    assert portico("floatingip", "delete", "203.0.113.9", "203.0.113.10").code == 0
    assert portico("router", "remove-router-interface", "r", "--subnet", "inner4").code == 0
    assert portico("router", "delete", "r").code == 0
    assert portico("port", "delete", "web", "db").code == 0
    assert portico("network", "delete", "inner", "public").code == 0


def test_what_the_page_on_logs_has_people_type_works(portico: Portico) -> None:
    for word, *words in lines("sh", "logging"):
        assert word == "portico"
        done = portico(*words)
        assert done.code == 0, (words, done.err)
    assert portico("log", "list", "-f", "value").out == ""
    assert portico("security-group", "delete", "web").code == 0


def test_the_operator_s_commands_provide_for_automatic_topologies(portico: Portico) -> None:
    assert portico("network", "create", "public", "--router-external").code == 0
    for word, *words in lines("console"):
        assert word == "portico"
        done = portico(*words)
        assert done.code == 0, (words, done.err)
    made = portico("auto-allocated-topology", "show", "red", "-f", "json").json
    assert portico("network", "show", made["id"], "-f", "value", "-c", "name").out == "auto_allocated_network\n"
    assert portico("auto-allocated-topology", "delete", "red").code == 0
    assert portico("network", "delete", "public").code == 0
    assert portico("subnetpool", "delete", "v4").code == 0
