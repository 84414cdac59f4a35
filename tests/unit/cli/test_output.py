# SPDX-License-Identifier: Apache-2.0
"""What commands print."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.cli import log
from portico.cli.option import BETWEEN_PAIRS, PAIR
from portico.cli.output import render_list, render_object
from portico.cli.topology import tree
from portico.settings_observe import LogSettings

SUBNET = {"id": "s1", "name": "", "cidr": "10.1.0.0/24", "gateway_ip": "10.1.0.1", "enable_dhcp": True, "ip_version": 4}
PORT = {
    "id": "p1", "name": "web", "status": "ACTIVE", "admin_state_up": True, "mac_address": "02:00:00:00:00:01",
    "fixed_ips": [{"ip_address": "10.1.0.2"}], "device_owner": "docker:endpoint", "device_id": "0123456789abcdef",
    "binding:host_id": "h1", "binding:vif_type": "veth", "status_reason": "", "router": "",
}  # fmt: skip
NETWORK = {"id": "n1", "name": "blue", "status": "ACTIVE", "admin_state_up": False, "mtu": 1400}


def test_a_list_in_a_table_has_a_line_for_each_element() -> None:
    text = render_list([{"id": "a", "ips": [{"n": 1, "up": True}, {"n": 2, "up": None}]}], ["id", "ips"], "table")
    assert text == "ID  IPS\na   n=1, up=true\n    n=2, up=\n"


def test_nothing_found_is_a_headline_in_a_table_and_an_empty_document_elsewhere() -> None:
    assert [render_list([], ["id"], form) for form in ("table", "json", "yaml", "csv", "value")] == [
        "ID\n", "[]\n", "[]\n", "id\n", "",
    ]  # fmt: skip


def test_one_object_has_a_line_for_each_attribute() -> None:
    item = {"name": "a", "tags": ["x", "y"], "mtu": 1400}
    assert render_object(item, [], "table") == "mtu   1400\nname  a\ntags  x\n      y\n"
    assert render_object(item, ["tags", "mtu"], "value") == "x, y\n1400\n"
    assert render_object(item, ["mtu", "name"], "csv") == "mtu,name\n1400,a\n"


def test_a_tree_shows_subnets_ports_workloads_and_what_is_switched_off() -> None:
    marker = {**PORT, "device_owner": "docker:network", "name": "blue"}
    bare = {
        **PORT,
        "name": "",
        "fixed_ips": [],
        "device_owner": "",
        "device_id": "",
        "binding:host_id": "",
        "status": "DOWN",
        "status_reason": "tap x does not exist",
    }
    network = {**NETWORK, "status": "ERROR", "status_reason": "host h1: no bridge"}
    assert list(tree({**network, "subnets": [SUBNET], "ports": [marker, PORT, bare]})) == [
        "network blue  ERROR (switched off)  mtu 1400",
        "│  host h1: no bridge",
        "├─ subnet s1  10.1.0.0/24  gateway 10.1.0.1  dhcp",
        "├─ Docker network blue  0123456789ab",
        "├─ port web  ACTIVE  10.1.0.2  02:00:00:00:00:01",
        "│  docker:endpoint  0123456789ab  on h1 as veth",
        "└─ port p1  DOWN  no address  02:00:00:00:00:01",
        "   tap x does not exist",
    ]


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_][a-z0-9_:-]{0,9}", fullmatch=True),
        st.from_regex(r"[ -~]{0,9}", fullmatch=True),
        min_size=1,
    )
)
def test_pairs_come_apart_as_they_were_put_together(pairs: dict[str, str]) -> None:
    # The one thing that cannot be told apart: a comma before what looks like another pair.
    safe = {name: value.replace(",", ";") for name, value in pairs.items()}
    found = [PAIR.fullmatch(part) for part in BETWEEN_PAIRS.split(",".join(f"{n}={v}" for n, v in safe.items()))]
    assert {match[1]: match[2] for match in found if match} == safe


def test_json_logs_are_one_object_a_line_with_the_traceback_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    try:
        log.configure(LogSettings(format="json"), "agent")
        logging.getLogger("x").debug("not at this level")
        try:
            raise ValueError("why\nthough")
        except ValueError:
            logging.getLogger("x").exception("it %s", "broke")
    finally:
        root.handlers = before
        root.setLevel(level)
    [line] = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["process"], entry["level"], entry["logger"], entry["message"]) == ("agent", "error", "x", "it broke")
    assert "ValueError: why\nthough" in entry["traceback"]
