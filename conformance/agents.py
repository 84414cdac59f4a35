# SPDX-License-Identifier: Apache-2.0
"""Portico's agents on hosts of a lab, for the tests that look at agents and at what they make."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from conformance.portico import Server
from portico.client import Client
from portico.testing.lab import Lab
from portico.testing.lab.process import wait_until

HOSTS = ("conformance-1", "conformance-2")
PHYSICAL_NETWORK, INTERFACE = "physnet1", "eth1"
"""Of each host, with nobody at the other end."""
START_TIMEOUT_S = 120


@contextlib.contextmanager
def running(server: Server) -> Iterator[None]:
    """Run an agent on each of two hosts, where it changes nothing but these; needs root.

    Raises:
        NotReady: an agent does not report; the message holds the ends of their logs.
    """
    with Lab() as lab:
        argv = [sys.executable, "-m", "portico.cli", "--config", os.devnull, "--set", f"api_url={server.local_url}"]
        argv += ["--set", f"agent.physical_networks={PHYSICAL_NETWORK}={INTERFACE}"]
        hosts = [lab.host(name) for name in HOSTS]
        for host in hosts:
            host.run(["ip", "link", "add", INTERFACE, "type", "veth", "peer", "name", "far1"])
        agents = [host.spawn([*argv, "agent"], log="agent") for host in hosts]
        with Client(server.local_url) as client:
            wait_until(
                "an agent on each host",
                lambda: len(client.list("agents")) == len(HOSTS),
                START_TIMEOUT_S,
                lambda: "\n".join(agent.tail() for agent in agents),
            )
        yield
