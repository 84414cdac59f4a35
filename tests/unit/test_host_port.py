# SPDX-License-Identifier: Apache-2.0
"""Whether ports of this host are free to be published."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from portico import host_port


def test_a_port_that_a_program_has_is_not_free_and_others_are() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        assert host_port.obstacle("tcp", "127.0.0.1", number) == (
            f"a program on the host uses tcp port {number} of address 127.0.0.1"
        )
        assert host_port.obstacle("tcp", "127.0.0.2", number) == ""
    assert host_port.obstacle("udp", "192.0.2.1", number) == "the host does not have address 192.0.2.1"


@pytest.mark.parametrize(
    ("sysctls", "tracks"),
    [
        ((), True),
        (("nf_conntrack_max",), False),
        (("nf_conntrack_max", "nf_conntrack_sctp_timeout_established"), True),
    ],
    ids=["nothing tracked yet", "without SCTP", "with SCTP"],
)
def test_sctp_is_not_published_where_the_kernel_takes_it_for_something_without_ports(
    tmp_path: Path, sysctls: tuple[str, ...], *, tracks: bool
) -> None:
    for name in sysctls:
        (tmp_path / name).touch()
    assert ("does not track SCTP" in host_port.obstacle("sctp", "127.0.0.1", 9, tmp_path)) is not tracks
