# SPDX-License-Identifier: Apache-2.0
"""Helpers of connection tracking on a real kernel: what is agreed on in a connection comes in by a router, to a port.

The port lets in nothing by its group but what is part of what it began itself, or related to that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from msgspec import structs

from portico.agent import owner
from portico.agent.drivers.related import lack
from portico.hoststate import Bridge, Guard, Router, Rule, Source, Vif
from portico.hoststate.l3 import Leg, Reader
from portico.model.l3 import HELPERS
from portico.testing.lab import Lab, wait_until
from portico.testing.rig import ANY, Rig, Workload, group

from .test_explain import differences

pytestmark = pytest.mark.lab

REST = "-0000-4000-8000-000000000000"
INSIDE, OUTSIDE = f"1aaaaaaa{REST}", f"2aaaaaaa{REST}"
OUTER, BLUE, OWN = "203.0.113.7", "10.1.0.5", "203.0.113.1"
CLIENT = group(1, *ANY)
TFTP, FTP = Reader("udp", 6969, "tftp"), Reader("tcp", 2121, "ftp")

# A server's side of RFC 1350: who asks at its port is answered from another one.
_TFTP_SERVER = """
import socket, sys
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.bind(("0.0.0.0", 6969))
print("serving")
while True:
    asks, where = asked.recvfrom(600)
    answering = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    answering.bind(("0.0.0.0", 0))
    answering.sendto(b"\\0\\3\\0\\1" + where[0].encode(), where)
"""
_TFTP_CLIENT = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(float(sys.argv[2]))
client.sendto(b"\\0\\1file\\0octet\\0", (sys.argv[1], 6969))
data, where = client.recvfrom(600)
assert where[1] != 6969, where
print(data[4:].decode())
"""
# A server's side of RFC 959, active mode: having said a while that all is well, it connects to where the client says.
_FTP_SERVER = """
import socket, threading
server = socket.create_server(("0.0.0.0", 2121))
print("serving")
def serve(control):
    lines = control.makefile("rw", newline="")
    while (line := lines.readline()).startswith("NOOP"):
        lines.write("200\\r\\n")
        lines.flush()
    numbers = line.split()[1].split(",")
    where = ".".join(numbers[:4]), int(numbers[4]) * 256 + int(numbers[5])
    data = socket.create_connection(where, 10)
    lines.write("150 " + where[0] + "\\r\\n")
    lines.flush()
    while heard := data.recv(100):
        data.sendall(heard)
while True:
    threading.Thread(target=serve, args=server.accept()[:1], daemon=True).start()
"""
# The client's side: it says "x" each 20 ms by the other connection, and hears it.
_FTP_CLIENT = """
import socket, sys, time
control = socket.create_connection((sys.argv[1], 2121), 10)
mine = control.getsockname()[0]
listener = socket.create_server((mine, 0))
listener.settimeout(float(sys.argv[2]))
port = listener.getsockname()[1]
lines = control.makefile("rw", newline="")
for _ in range(int(sys.argv[3])):
    lines.write("NOOP\\r\\n")
    lines.flush()
    assert lines.readline() == "200\\r\\n"
lines.write(f"PORT {mine.replace('.', ',')},{port // 256},{port % 256}\\r\\n")
lines.flush()
data, where = listener.accept()
data.settimeout(1)
print(lines.readline().strip())
while True:
    data.sendall(b"x")
    try:
        print("answered" if data.recv(100) else "closed")
    except TimeoutError:
        print("silent")
    time.sleep(0.02)
"""


def router(*helpers: Reader) -> Router:
    inner = Leg(f"10ffffff{REST}", INSIDE, "02:00:00:ff:00:01", 1450, ("10.1.0.1/24",))
    out = Leg(f"20ffffff{REST}", OUTSIDE, "02:00:00:ff:00:02", 1450, (f"{OWN}/24",), outside=True, snat=OWN)
    return Router(f"1ccccccc{REST}", (inner, out), helpers=helpers)


@dataclass(frozen=True, slots=True)
class Site:
    rig: Rig
    blue: Workload

    def fetch(self, patience_s: float) -> str:
        """Return as whom a TFTP server outside knows who asks, if its answer arrives."""
        argv = (sys.executable, "-I", "-S", "-c", _TFTP_CLIENT, OUTER, str(patience_s))
        return self.blue.run(*argv, check=False).out.strip()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        rig = Rig(lab.host("one"))
        mac, name = "02:00:00:00:00:05", f"5bbbbbbb{REST}"
        guard = Guard((Source(mac, f"{BLUE}/32"),), (CLIENT.group_id,))
        inner = Vif(name, INSIDE, mac, 1450, owner.host_link(name), guard=guard)
        outer = Vif(f"7bbbbbbb{REST}", OUTSIDE, "02:00:00:00:00:07", 1450, owner.host_link(f"7bbbbbbb{REST}"))
        rig.want(Bridge(INSIDE, 1450), Bridge(OUTSIDE, 1450), CLIENT, inner, outer, router())
        rig.start()
        blue, server = rig.plug("blue", inner, f"{BLUE}/24"), rig.plug("outer", outer, f"{OUTER}/24")
        blue.run("ip", "route", "add", "default", "via", "10.1.0.1")
        for code in (_TFTP_SERVER, _FTP_SERVER):
            server.python(code).wait_for_text("serving", 20)
        assert blue.pings(OUTER)
        yield Site(rig, blue)


def test_an_answer_from_another_port_arrives_while_a_helper_reads_along(site: Site) -> None:
    assert site.fetch(0.4) == ""
    site.rig.want(router(TFTP, FTP))
    assert site.fetch(10) == OWN
    site.rig.want(router(FTP))
    assert site.fetch(0.4) == ""
    assert differences(site.rig, site.blue.vif.port_id) == []


def test_a_connection_that_is_agreed_on_in_another_stands_and_falls_with_that(site: Site) -> None:
    rig, blue = site.rig, site.blue
    rig.want(router())
    refused = blue.python(_FTP_CLIENT, OUTER, "0.4", "0")
    assert refused.wait(20) != 0
    assert "TimeoutError" in refused.output
    rig.want(router(FTP))
    # So much is said before that the fast path would have the connection, if it could.
    talk = blue.python(_FTP_CLIENT, OUTER, "10", "200")
    talk.wait_for_text("answered", 20)
    assert f"150 {OWN}" in talk.output
    rig.want(structs.replace(CLIENT, rules=(*ANY, Rule("egress", "IPv4", 17))))
    rig.want(CLIENT)
    rig.pause()
    rig.start()
    heard = talk.output.count("answered")
    wait_until("what goes on", lambda: talk.output.count("answered") > heard + 10, 20, talk.tail)
    rig.want(structs.replace(CLIENT, rules=(Rule("egress", "IPv4", 17),)))
    wait_until("the end of both", lambda: talk.output.endswith("silent\nsilent\n"), 20, talk.tail)
    talk.kill()
    rig.want(CLIENT)


def test_a_router_whose_helper_the_kernel_lacks_stays_as_it_is_and_says_so(site: Site) -> None:
    assert [why for helper, them in HELPERS.items() for protocol in them if (why := lack(helper, protocol))] == []
    site.rig.want(router(Reader("tcp", 99, "gopher")))
    status = site.rig.wait_status(router().key, "error")
    assert status.reason == "the kernel has no conntrack helper gopher for tcp (modprobe nf_nat_gopher)"
    assert site.blue.pings(OUTER)
    site.rig.want(router())
    site.rig.wait_status(router().key, "active")
