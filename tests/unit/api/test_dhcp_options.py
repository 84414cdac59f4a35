# SPDX-License-Identifier: Apache-2.0
"""extra_dhcp_opts of ports."""

from __future__ import annotations

import pytest

from .asker import Asker, Row


@pytest.fixture
def network(api: Asker) -> Row:
    return api.network("192.0.2.0/28")


def test_dhcp_options_are_set_replaced_and_removed_one_by_one(api: Asker, network: Row) -> None:
    def option(name: str, value: str | None, version: int = 4) -> Row:
        return {"opt_name": name, "opt_value": value, "ip_version": version}

    port = api.port(network, extra_dhcp_opts=[{"opt_name": "mtu", "opt_value": "1400"}, option("ntp-server", "::1", 6)])
    assert port["extra_dhcp_opts"] == [option("mtu", "1400"), option("ntp-server", "::1", 6)]
    port = api.update("ports", port, extra_dhcp_opts=[option("mtu", "1300"), option("log-server", "192.0.2.9")])
    assert sorted(port["extra_dhcp_opts"], key=lambda one: str(one["opt_name"])) == [
        option("log-server", "192.0.2.9"), option("mtu", "1300"), option("ntp-server", "::1", 6),
    ]  # fmt: skip
    port = api.update("ports", port, extra_dhcp_opts=[option("mtu", None), option("log-server", None)])
    assert port["extra_dhcp_opts"] == [option("ntp-server", "::1", 6)]
    for wrong in ([{"opt_name": "mtu"}], [{"opt_value": "1"}], [option("mtu", "1", 5)], "x", [1]):
        answer = api.try_update("ports", port, extra_dhcp_opts=wrong)
        assert answer.error[0] == 400 and "extra_dhcp_opts" in answer.message


def test_dhcp_options_that_no_server_knows_or_that_are_not_one_line_are_refused(api: Asker, network: Row) -> None:
    wrong = [
        ("router", "10.0.0.1\noption:dns-server,192.0.2.6", "opt_value"), ("mtu", "1400\n", "opt_value"),
        ("mtu", "14\x0700", "opt_value"), ("mtu", "1400\x85", "opt_value"),
        ("router,10.0.0.1", "192.0.2.6", "opt_name"), ("router\n", "192.0.2.6", "opt_name"),
        ("tag:all,3", "192.0.2.6", "opt_name"), ("nonsense", "1", "opt_name"), ("0", "1", "opt_name"),
        ("255", "1", "opt_name"), ("bootfile-url", "x", "opt_name"),
        ("3", "not-an-address", "opt_value"), ("router", "2001:db8::1", "opt_value"), ("mtu", "big", "opt_value"),
        ("26", "70000", "opt_value"), ("NTP-server", "192.0.2.1,ntp", "opt_value"), ("121", "10.0.0.0/8", "opt_value"),
    ]  # fmt: skip
    for name, value, guilty in wrong:
        made = api.try_create(
            "ports", network_id=network["id"], extra_dhcp_opts=[{"opt_name": name, "opt_value": value}]
        )
        assert made.error == (400, "InvalidInput"), (name, value)
        assert f"extra_dhcp_opts {guilty} {(name if guilty == 'opt_name' else value)!r}" in made.message
    names = ["1", "254", "150", "NTP-server"]
    port = api.port(network, extra_dhcp_opts=[{"opt_name": name, "opt_value": "192.0.2.1"} for name in names])
    assert [option["opt_name"] for option in port["extra_dhcp_opts"]] == names
