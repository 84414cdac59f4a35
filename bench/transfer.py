# SPDX-License-Identifier: Apache-2.0
"""The throughput of a TCP connection, as iperf3 measures it.

The sender's congestion control is Reno, which is in every kernel and which, like Linux' own default CUBIC, sends when
it may. BBR, which some machines have for their default, sets a timer for each packet: in a virtual machine that takes
40 % of the sender's processor time, thrice what the packet's way takes, so that it hides what is to be compared.
"""

from __future__ import annotations

import json

UNPACED = "net.ipv4.tcp_congestion_control=reno"
"""The sysctl that senders' namespaces need. What a connection asks for itself comes when it has its timer already."""
SECONDS = 1
COUNT = 30
"""Transfers by either way: many short ones tell more than few long ones, for what is beside them changes."""


def command(address: str, port: str = "5201") -> list[str]:
    """Return the client's command line; its report is for `gigabits`."""
    return ["iperf3", "-c", address, "-p", port, "-t", str(SECONDS), "-J"]


def gigabits(report: str) -> float:
    """Return what a report says was received, in Gbit/s; 0 if the server was not reached."""
    received = json.loads(report)["end"].get("sum_received", {})
    return float(received.get("bits_per_second", 0)) / 1e9
