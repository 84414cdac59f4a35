# SPDX-License-Identifier: Apache-2.0
"""The address at which other hosts reach this one, as the kernel's links and routes are."""

from __future__ import annotations

import sys

from portico.testing.lab import Lab, LabHost

ASK = "from portico.agent import underlay; print(underlay.address(4), underlay.address(6))"


def found(host: LabHost) -> list[str]:
    return host.run([sys.executable, "-c", ASK]).out.rstrip("\n").split(" ")


def ip(host: LabHost, line: str) -> None:
    host.run(["ip", *line.split()])


def test_a_host_tells_the_address_that_the_default_route_or_else_the_first_link_has() -> None:
    with Lab() as lab:
        alone, host = lab.host("alone"), lab.host("one", underlay=True)
        assert found(alone) == ["", ""]
        assert found(host) == ["198.51.100.1", "2001:db8:1ab::1"]
        ip(host, "link add br9 up type bridge")
        ip(host, "link add d9 up type veth peer name d8")
        ip(host, "link set d8 up")
        for line in ("192.0.2.129/25 dev br9", "203.0.113.9/24 dev d9", "2001:db8:9::9/64 dev d9 nodad"):
            ip(host, f"addr add {line}")
        assert found(host) == ["198.51.100.1", "2001:db8:1ab::1"]
        ip(host, "route add default via 203.0.113.1")
        ip(host, "-6 route add default via 2001:db8:9::1")
        assert found(host) == ["203.0.113.9", "2001:db8:9::9"]
        ip(host, "link set eth0 down")
        ip(host, "route del default")
        ip(host, "link set d9 down")
        assert found(host)[0] == ""
