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


@pytest.mark.parametrize(("version", "topic"), [(4, "dhcp"), (6, "dhcp6")])
def test_an_option_has_one_type_by_name_and_by_number(version: int, topic: str) -> None:
    told = subprocess.run(["/usr/sbin/dnsmasq", "--help", topic], capture_output=True, text=True, check=True).stdout
    for number, name in (line.split() for line in told.splitlines()[1:]):
        for value in ("192.0.2.1", "2001:db8::1", "7", "word", "192.0.2.0/24,192.0.2.1"):
            by_name, by_number = (dhcp_option.value_fault(word, version, value) for word in (name, number))
            assert by_name == by_number or name == "server-ip-address", (name, value)


@pytest.mark.parametrize(
    ("name", "version", "value"),
    [
        ("router", 4, ""), ("dns-server", 4, "192.0.2.1, 192.0.2.2"), ("mtu", 4, "1400"), ("time-offset", 4, "-3600"),
        ("dns-server", 6, "[2001:db8::1],2001:db8::2"), ("classless-static-route", 4, "0.0.0.0/0,192.0.2.1"),
        ("bootfile-name", 4, "kernel"), ("224", 4, "anything"), ("ntp-server", 6, "ntp.example"),
    ],
)  # fmt: skip
def test_values_of_the_right_type_have_no_fault(name: str, version: int, value: str) -> None:
    assert dhcp_option.value_fault(name, version, value) == ""
    line = f"dhcp-option={'option6:' if version == 6 else 'option:' if not name.isdecimal() else ''}{name},{value}"
    argv = ["/usr/sbin/dnsmasq", "--test", "--conf-file=-"]
    assert subprocess.run(argv, input=line.rstrip(","), capture_output=True, text=True, check=False).returncode == 0
