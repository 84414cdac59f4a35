# SPDX-License-Identifier: Apache-2.0
"""Settings of the agent: the table `agent`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's own."""

    netns: Annotated[str, Meta(description="network namespace of the data plane, a name under /run/netns")] = "portico"
    availability_zone: Annotated[str, Meta(description="availability zone of this host, shown with its agent")] = (
        "default"
    )
    address_v4: Annotated[
        str, Meta(description="IPv4 address at which other hosts reach this one; empty: the default route's source")
    ] = ""
    address_v6: Annotated[
        str, Meta(description="IPv6 address at which other hosts reach this one; empty: as above")
    ] = ""
    bandwidth_kbps: Annotated[
        int,
        Meta(ge=0, description="kilobits a second that this host carries each way, for ports' minimum; 0: not known"),
    ] = 0
    packet_rate_kpps: Annotated[
        int, Meta(ge=0, description="thousands of packets a second that it forwards, both ways together; 0: not known")
    ] = 0
    reconcile_s: Annotated[
        float, Meta(ge=1, description="seconds between two comparisons of everything with the kernel")
    ] = 30
    physical_networks: Annotated[
        dict[str, str],
        Meta(description="interface of this host for each physical network that it has (provider:physical_network)"),
    ] = {}
    fast_path: Annotated[
        bool,
        Meta(description="let packets of established connections between ports, and with the host, take the fast path"),
    ] = True
    idle_bridge_s: Annotated[
        float, Meta(ge=0, description="seconds that a bridge, router or uplink stays after its last port, for the next")
    ] = 10
    log_rate: Annotated[
        int,
        Meta(ge=1, le=100_000, description="packets a second that one log has written down, each way and verdict"),
    ] = 100
    log_burst: Annotated[int, Meta(ge=1, le=100_000, description="of them at once, after a pause")] = 25
    log_file_mib: Annotated[
        int, Meta(ge=1, le=4096, description="MiB of packets written down after which another file is begun")
    ] = 16
    log_files: Annotated[int, Meta(ge=1, le=1000, description="such files that are kept")] = 4
