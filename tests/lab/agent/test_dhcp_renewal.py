# SPDX-License-Identifier: Apache-2.0
"""What a DHCP client asks besides its first address (RFC 2131 sections 4.3 and 4.4), message by message."""

from __future__ import annotations

import sys

import pytest
from tests.lab.agent.test_dhcp import PID, begin, lease, subnet4

from portico.testing.lab import wait_until
from portico.testing.rig import Rig, Workload

pytestmark = pytest.mark.lab

OWN, SERVER, ANYBODY = "10.0.0.1", "10.0.0.250", "255.255.255.255"
ACK, NAK, NOTHING = "5", "6", "-"

# Sends each message that it is told of, KIND,CLIENT'S ADDRESS,ADDRESS ASKED FOR,SERVER NAMED,TO; prints kind and
# address of each answer.
ASK = """
import socket, struct, sys
mac = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for name in (socket.SO_BROADCAST, socket.SO_REUSEADDR):
    s.setsockopt(socket.SOL_SOCKET, name, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
s.bind(("", 68))
for text in sys.argv[2:]:
    kind, own, wanted, server, to = text.split(",")
    body = struct.pack("!BBBBIHH", 1, 1, 6, 0, 7, 0, 0 if own else 0x8000) + socket.inet_aton(own or "0.0.0.0")
    body += bytes(12) + mac + bytes(202) + bytes.fromhex("63825363") + bytes([53, 1, int(kind)])
    for option, address in ((50, wanted), (54, server)):
        body += bytes([option, 4]) + socket.inet_aton(address) if address else b""
    s.sendto(body + bytes([255]), (to, 67))
    s.settimeout(float(sys.argv[1]))
    try:
        answer = s.recv(2000)
    except TimeoutError:
        print("- -")
        continue
    at = 240
    while answer[at] != 53:
        at += 2 + answer[at + 1]
    print(answer[at + 2], socket.inet_ntoa(answer[16:20]))
"""


def ask(client: Workload, *messages: str, patience_s: float = 10) -> list[list[str]]:
    argv = (sys.executable, "-I", "-S", "-c", ASK, str(patience_s), *messages)
    return [line.split() for line in client.run(*argv, timeout_s=60).out.splitlines()]


def test_an_address_is_kept_as_long_as_the_port_has_it_and_no_other_is_given(rig: Rig) -> None:
    client, other = begin(rig, subnet4())
    again, foreign = f"3,,{OWN},,{ANYBODY}", f"3,,192.0.2.9,,{ANYBODY}"
    select, others = f"3,,{OWN},{SERVER},{ANYBODY}", f"3,,10.0.0.2,,{ANYBODY}"
    assert ask(client, f"1,,,,{ANYBODY}", select, again, others, foreign) == [
        ["2", OWN], [ACK, OWN], [ACK, OWN], [NAK, "0.0.0.0"], [NAK, "0.0.0.0"],
    ]  # fmt: skip
    client.run("ip", "addr", "add", f"{OWN}/24", "dev", "eth0")
    renew, rebind, inform = f"3,{OWN},,,{SERVER}", f"3,{OWN},,,{ANYBODY}", f"8,{OWN},,,{SERVER}"
    told = [[ACK, OWN], [ACK, OWN], [ACK, "0.0.0.0"]]
    assert ask(client, renew, rebind, inform) == told
    # a server that has lost what it knew of leases
    old = rig.host.path(PID).read_text()
    rig.host.path("/var/lib/portico/dhcp/portico/aaaaaaaa-00/leases").unlink()
    rig.host.run(["kill", "-9", old.strip()])
    wait_until("a new server", lambda: rig.host.path(PID).read_text() not in ("", old), 20)
    assert ask(client, renew, rebind, inform) == told
    assert ask(client, f"7,{OWN},,{SERVER},{SERVER}", patience_s=0.2) == [["-", "-"]], "a release has no answer"
    assert ask(client, renew) == [[ACK, OWN]]
    rig.want(lease(other.vif, 1, "two"), gone=[lease(client.vif, 1, "one")])
    assert ask(client, renew, patience_s=0.5)[0][0] in (NAK, NOTHING)
    assert ask(other, f"1,,,,{ANYBODY}", select) == [["2", OWN], [ACK, OWN]]
