# SPDX-License-Identifier: Apache-2.0
"""What is ours, and the pages that say so."""

from __future__ import annotations

from pathlib import Path

from portico.agent import owner, redirect

PAGE = Path(__file__).parents[3] / "docs/design/ownership.md"
NETWORK = "aaaaaaaa-0000-4000-8000-000000000001"
PORT = "bbbbbbbb-0000-4000-8000-000000000002"
ROUTER = "cccccccc-0000-4000-8000-000000000003"


def table(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_the_page_lists_exactly_what_the_module_lists() -> None:
    assert table(PAGE.read_text()) == table(owner.__doc__ or "")
    assert all(line.count(" | ") == 2 and line.endswith("|") for line in table(PAGE.read_text())[2:])


def test_every_name_and_sign_that_the_agent_gives_is_in_the_table() -> None:
    given = [
        owner.bridge_name(NETWORK), owner.port_link(PORT), owner.dhcp_link(NETWORK), owner.host_link(PORT),
        owner.routed_dhcp_link(NETWORK), owner.SPACE_LINK, owner.space_link("<netns>"),
        owner.alias("routed", "<link name>"), owner.alias("routed", "host", "<netns>"),
        owner.dhcp_netns("<netns>", NETWORK), owner.host_alias("<netns>", PORT), owner.alias(NETWORK, "<zone>"),
        owner.alias(PORT, "<link name>", "<mac>"), owner.alias(NETWORK, "dhcp", "<digest>"),
        owner.uplink_link(NETWORK), owner.uplink_host_link(NETWORK), owner.alias(NETWORK, "uplink", "<link name>"),
        owner.alias(NETWORK, "uplink", "<netns>"), owner.segment_link(NETWORK), owner.segment_host_link(NETWORK),
        owner.alias(NETWORK, "segment", "<link name>"), owner.alias(NETWORK, "segment", "<netns>"),
        f"inet {owner.host_table('portico')}",
        owner.leg_link(PORT), owner.alias(ROUTER, "leg", PORT), owner.router_netns("<netns>", ROUTER),
        f"bridge {owner.TABLE}", f"inet {owner.TABLE}",
    ]  # fmt: skip
    told = "\n".join(f"`{name}`" for name in given)
    for value, word in ((NETWORK, "<network id>"), (PORT, "<port id>"), (ROUTER, "<router id>")):
        told = told.replace(value, word).replace(value[:11], f"{word[:-1]}[:11]>")
    listed = "\n".join(table(owner.__doc__ or ""))
    assert [name for name in told.splitlines() if name not in listed] == []
    assert str(redirect.PREFERENCE) in listed


def test_a_link_of_the_hosts_namespace_belongs_to_one_agent_only() -> None:
    alias = owner.host_alias("portico", PORT)
    assert owner.port_of("portico", alias) == PORT
    assert owner.port_of("other", alias) == owner.port_of("portico", f"portico:{PORT}") == ""
    assert owner.port_of("portico", "somebody's") == owner.port_of("portico", "") == ""
