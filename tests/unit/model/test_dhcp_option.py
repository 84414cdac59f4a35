# SPDX-License-Identifier: Apache-2.0
"""The DHCP options that a port may have are those that the installed dnsmasq knows."""

from __future__ import annotations

import subprocess

import pytest

from portico.model import dhcp_option


@pytest.mark.parametrize(("version", "topic"), [(4, "dhcp"), (6, "dhcp6")])
def test_the_names_are_dnsmasqs_own(version: int, topic: str) -> None:
    told = subprocess.run(["/usr/sbin/dnsmasq", "--help", topic], capture_output=True, text=True, check=True).stdout
    names = {line.split()[1] for line in told.splitlines()[1:]}
    assert dhcp_option.NAMES[version] == names
