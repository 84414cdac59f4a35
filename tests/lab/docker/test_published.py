# SPDX-License-Identifier: Apache-2.0
"""Docker networks with a way out, and published ports, by a real engine whose firewall drops what it does not know."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from portico.testing.docker_site import DockerSite
from portico.testing.lab import Lab, wait_until
from portico.testing.lab.docker import IMAGE

pytestmark = pytest.mark.lab

WAN, BEYOND = "198.51.100.1", "198.51.100.2"
WAN6, BEYOND6 = "2001:db8:1::1", "2001:db8:1::2"
# Of two networks: neither is known outside, nor to the other.
INSIDE6 = "2001:db8:2::/64"

# A web server that tells whoever asks their own address.
SERVE = (
    "mkdir -p /tmp/www/cgi-bin && printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' > /tmp/www/cgi-bin/who && "
    "chmod +x /tmp/www/cgi-bin/who && exec busybox httpd -f -p 80 -h /tmp/www"
)
WEB = ("sh", "-c", SERVE)

# Tells whoever sends to one of two UDP ports their own address and the port.
_TELL = """
import selectors, socket
every = selectors.DefaultSelector()
for port in (53, 54):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", port))
    every.register(s, selectors.EVENT_READ, port)
print("telling", flush=True)
while True:
    for key, _ in every.select():
        peer = key.fileobj.recvfrom(100)[1]
        key.fileobj.sendto(f"{peer[0]} {key.data}".encode(), peer)
"""
_ASK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.5)
s.connect((sys.argv[1], int(sys.argv[2])))
for _ in range(30):
    try:
        s.send(b"?")
        print(s.recv(100).decode())
        break
    except OSError:
        pass
"""


@pytest.fixture
def site() -> Iterator[DockerSite]:
    with Lab() as lab:
        host = lab.host("one")
        run = host.run
        run(["ip", "netns", "add", "beyond"])
        run(["ip", "link", "add", "wan", "type", "veth", "peer", "name", "eth0", "netns", "beyond"])
        for there, name, address, ipv6 in (([], "wan", WAN, WAN6), (["-n", "beyond"], "eth0", BEYOND, BEYOND6)):
            run(["ip", *there, "link", "set", name, "up"])
            run(["ip", *there, "addr", "add", f"{address}/24", "dev", name])
            run(["ip", *there, "addr", "add", f"{ipv6}/64", "dev", name, "nodad"])
        with DockerSite(host) as found:
            yield found


def ask(site: DockerSite, where: str, address: str, port: int) -> str:
    """Return what the server there says of who asks: from a namespace, a container, or "" the host; "" if nothing."""
    words = ["timeout", "1", "busybox", "wget", "-q", "-O", "-", f"http://{address}:{port}/cgi-bin/who"]
    if where not in ("", "beyond"):
        told = site.execute(where, *words, check=False).out
    else:
        told = site.host.run([*(["ip", "netns", "exec", where] if where else []), *words], check=False).out
    return told.strip().strip("[]").removeprefix("::ffff:")


def soon(site: DockerSite, where: str, address: str, port: int, told: str) -> None:
    """Wait until the server there says `told` to who asks."""
    wait_until(
        f"{told!r} from {address}:{port} to {where or 'the host'}",
        lambda: ask(site, where, address, port) == told,
        15,
        lambda: ask(site, where, address, port),
    )


def test_containers_reach_out_and_are_reached_by_published_ports(site: DockerSite) -> None:
    run = site.host.run
    assert "-P FORWARD DROP" in run(["iptables", "-S", "FORWARD"]).out, "the engine's own"
    site.host.spawn(["ip", "netns", "exec", "beyond", "sh", "-c", SERVE], log="beyond")
    site.create("blue", "--ipv6", "--subnet", "10.1.0.0/24", "--subnet", INSIDE6)
    site.create("green", "--ipv6", "--subnet", "10.2.0.0/24", "--subnet", INSIDE6)
    site.create("inner", "--internal", "--subnet", "10.3.0.0/24")
    routed = ["--subnet", "10.4.0.0/24", "--ipv6", "--subnet", "2001:db8:4::/64"]
    site.create("fast", "-o", "portico.backend=routed", *routed)
    site.run("web", "blue", "-p", "8080:80", "-p", "127.0.0.1:9090:80", "-p", "5353-5752:53-452/udp", command=WEB)
    site.run("hare", "fast", "-p", "8087:80", "-p", "127.0.0.1:9091:80", command=WEB)
    site.run("other", "green", "-p", "8086:80", "-p", "9899:9900/sctp", command=WEB)
    soon(site, "web", BEYOND, 80, WAN)
    soon(site, "beyond", WAN, 8080, BEYOND)
    soon(site, "", WAN, 8080, WAN)
    soon(site, "hare", BEYOND, 80, WAN)
    soon(site, "beyond", WAN, 8087, BEYOND)
    for where, number in (("web", 8080), ("other", 8086)):
        soon(site, where, f"[{BEYOND6}]", 80, WAN6)
        soon(site, "beyond", f"[{WAN6}]", number, BEYOND6)
        soon(site, where, f"[{WAN6}]", number, "fd70:6f72:7468::1")
    soon(site, "", f"[{WAN6}]", 8086, WAN6)
    soon(site, "hare", f"[{BEYOND6}]", 80, WAN6)
    site.execute("other", "ping", "-6", "-c", "1", "-W", "10", BEYOND6)
    published = run(["nft", "list", "chain", "inet", "portico", "published"]).out
    assert published.count("sctp dport 9899 dnat") == 2, "over both IP versions"
    for where, address, port in (
        ("", "127.0.0.1", 8080),
        ("", "127.0.0.1", 9090),
        ("web", WAN, 8080),
        ("other", WAN, 8080),
    ):
        soon(site, where, address, port, "100.64.0.1")
    assert ask(site, "beyond", WAN, 9090) == "" and ask(site, "other", "10.1.0.2", 80) == ""
    for where, address, port in (("", "127.0.0.1", 8087), ("", "127.0.0.1", 9091), ("hare", WAN, 8087)):
        _answers(site, where, address, port)
    assert ask(site, "beyond", WAN, 9091) == ""
    links = site.execute("web", "ip", "-o", "link").out
    assert [line.split(":")[1].split("@")[0].strip() for line in links.splitlines()] == ["lo", "eth0"]
    _udp_and_ranges(site)
    _groups_decide(site)
    _the_gateway_moves(site)
    _clashes_are_told(site)
    site.clear()
    site.wait_until_clean()
    assert site.api.list("routers") == site.api.list("floatingips") == []
    wait_until("nothing in the host's namespace", lambda: "px" not in run(["ip", "-br", "link"]).out, 20)
    wait_until("no rules of ours", lambda: "inet portico" not in run(["nft", "list", "tables"]).out, 20)
    assert "portico" not in run(["iptables", "-S", "DOCKER-USER"]).out


def _answers(site: DockerSite, where: str, address: str, port: int) -> None:
    """Wait until the server there says anything: which of its addresses a host takes is its own affair."""
    wait_until(f"{address}:{port} to {where or 'the host'}", lambda: ask(site, where, address, port) != "", 15)


def _udp_and_ranges(site: DockerSite) -> None:
    """Ask a range of UDP ports from beyond the host and from itself; the image has nothing that answers UDP."""
    within = ["nsenter", "--net", "--target", site.docker("inspect", "-f", "{{.State.Pid}}", "web").out.strip()]
    python = [sys.executable, "-I", "-S", "-c"]
    site.host.spawn([*within, *python, _TELL], log="names").wait_for_text("telling", 20)
    for there, address, told in ((["ip", "netns", "exec", "beyond"], WAN, BEYOND), ([], "127.0.0.1", "100.64.0.1")):
        for port in (5353, 5354):
            answer = site.host.run([*there, *python, _ASK, address, str(port)], check=False)
            assert answer.out.strip() == f"{told} {port - 5300}", (address, port, answer)


def _groups_decide(site: DockerSite) -> None:
    """Publish a port of a container whose groups were chosen: nobody gets in before they say so."""
    closed = site.api.create("security_groups", {"name": "closed"})
    site.run("shut", "name=green,driver-opt=portico.security-groups=closed", "-p", "8089:80", command=WEB)
    soon(site, "shut", "127.0.0.1", 80, "127.0.0.1")
    assert ask(site, "beyond", WAN, 8089) == ask(site, "", WAN, 8089) == ""
    rule = {"security_group_id": closed["id"], "direction": "ingress", "protocol": "tcp", "port_range_min": 80}
    site.api.create("security_group_rules", {**rule, "port_range_max": 80, "remote_ip_prefix": f"{BEYOND}/32"})
    soon(site, "beyond", WAN, 8089, BEYOND)
    assert ask(site, "", WAN, 8089) == ""
    site.docker("rm", "-f", "shut")
    site.api.delete("security_groups", closed["id"])


def _the_gateway_moves(site: DockerSite) -> None:
    """Move a container from an internal network to one with a gateway and back."""
    site.run("mover", "inner", "-p", "8088:80", command=WEB)
    assert "default" not in site.execute("mover", "ip", "route").out
    assert ask(site, "mover", BEYOND, 80) == ask(site, "beyond", WAN, 8088) == ""
    site.docker("network", "connect", "blue", "mover")
    soon(site, "mover", BEYOND, 80, WAN)
    soon(site, "beyond", WAN, 8088, BEYOND)
    site.docker("network", "disconnect", "blue", "mover")
    assert "default" not in site.execute("mover", "ip", "route").out
    wait_until("published no more", lambda: ask(site, "beyond", WAN, 8088) == "", 20)


def _clashes_are_told(site: DockerSite) -> None:
    listen = "import socket, time; s = socket.create_server(('', 8090)); print('listens', flush=True); time.sleep(600)"
    site.host.spawn([sys.executable, "-I", "-S", "-c", listen], log="listener").wait_for_text("listens", 20)
    for port, why in ((8090, "a program on the host uses tcp port 8090"), (8080, "port forwarding")):
        refused = site.docker("run", "--rm", "--network", "green", "-p", f"{port}:80", IMAGE, "true", check=False)
        assert why in refused.err, refused.err
