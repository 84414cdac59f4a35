# SPDX-License-Identifier: Apache-2.0
"""BIRD's configuration, its control socket, and what the driver does with a BIRD that fails."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.agent.bird_host import BirdHost

from portico.agent import bird, birdc
from portico.agent.delta import Trouble, Wanted
from portico.agent.drivers.bgp import SpeakerDriver
from portico.agent.speaker import facts
from portico.hoststate import Behind, HostObject, Peer, Speaker
from portico.hoststate.speaker import SPEAKER_KEY
from portico.testing.fakebird import BirdMachine, FakeBird
from portico.testing.faults import Crash, Faults

SPEAKER = Speaker(65000, "192.0.2.1", ("192.0.2.1", "2001:db8::1"), prefixes=("10.1.0.0/24", "2001:db8:1::/64"))
HOST = Peer("192.0.2.2", 65000)
OUTSIDE = Peer(
    "192.0.2.9", 4200000001, "outside", announce=("10.1.0.0/24",), communities=("65000:100", "4200000001:1:2")
)


def config(*peers: Peer, speaker: Speaker = SPEAKER) -> str:
    return bird.config(speaker, peers, "/run/bgp")


def protocol(text: str, name: str) -> str:
    """Return a protocol's part of a configuration."""
    return re.search(rf"^protocol bgp {name} {{\n.*?^}}", text, re.MULTILINE | re.DOTALL)[0]  # type: ignore[index]


def test_peers_in_any_order_are_the_same_configuration_and_a_change_another() -> None:
    one, other = config(HOST, OUTSIDE), config(OUTSIDE, HOST)
    assert one == other
    digests = {bird.digest(text) for text in (one, config(HOST), config())}
    assert len(digests) == 3 and all(re.fullmatch("config_[0-9a-f]{16}", digest) for digest in digests)
    assert bird.digest("no configuration of ours") == ""


def test_another_peer_changes_nothing_of_a_peers_own_protocol() -> None:
    name = "host_192_0_2_2"
    assert protocol(config(HOST), name) == protocol(config(HOST, OUTSIDE, Peer("192.0.2.1", 65000)), name)


def test_one_outside_is_told_of_its_networks_alone_and_marked() -> None:
    text = protocol(config(OUTSIDE), "outside_192_0_2_9")
    assert "neighbor 192.0.2.9 as 4200000001;" in text
    assert (
        "net ~ [10.1.0.0/24+] then { bgp_next_hop = 192.0.2.1; bgp_community.add((65000, 100)); "
        "bgp_large_community.add((4200000001, 1, 2)); accept; } reject;" in text
    )
    assert "is_hosts()" not in text
    assert re.search(r"import filter { if net ~ \[.*0\.0\.0\.0/0, 10\.1\.0\.0/24\+\] then reject", text)


def test_one_outside_tells_of_more_only_where_it_may() -> None:
    peer = Peer("192.0.2.9", 65001, "outside", accept_default=True, accept_own=True)
    text = protocol(config(peer), "outside_192_0_2_9")
    assert "0.0.0.0/0" not in text and "10.1.0.0/24" not in text
    assert "export filter { reject; };" in text


def test_routes_within_a_block_are_told_of_as_the_block() -> None:
    speaker = Speaker(65000, "192.0.2.1", ("192.0.2.1",), blocks=("10.1.0.64/26",))
    text = config(HOST, speaker=speaker)
    assert "protocol static blocks4 { ipv4; route 10.1.0.64/26 blackhole; }" in text
    assert "(is_port() && !(net ~ [10.1.0.64/26+]) || is_block())" in protocol(text, "host_192_0_2_2")


def test_one_outside_is_told_of_what_is_behind_routers_with_their_next_hops_and_the_kernel_is_not() -> None:
    behind = {OUTSIDE.address: (("10.9.0.0/24", "203.0.113.5"), ("203.0.113.7/32", "203.0.113.6"),
                                ("10.8.0.0/24", "203.0.113.5"))}  # fmt: skip
    text = bird.config(SPEAKER, [HOST, OUTSIDE], "/run/bgp", behind)
    routes = "route 10.8.0.0/24 unreachable; route 10.9.0.0/24 unreachable; route 203.0.113.7/32 unreachable;"
    assert f"protocol static behind4 {{ ipv4; {routes} }}" in text
    assert text.count("export where source = RTS_BGP || is_block();") == 2
    told = protocol(text, "outside_192_0_2_9")
    marks = "bgp_community.add((65000, 100)); bgp_large_community.add((4200000001, 1, 2)); accept; }"
    for nets, hop in (("10.8.0.0/24, 10.9.0.0/24", "203.0.113.5"), ("203.0.113.7/32", "203.0.113.6")):
        assert f"if is_behind() && net ~ [{nets}] then {{ bgp_next_hop = {hop}; {marks}" in told
    assert protocol(text, "host_192_0_2_2") == protocol(config(HOST), "host_192_0_2_2"), "hosts know better"
    wrong = bird.fault(SPEAKER, OUTSIDE, (("10.9.0.0/24", "nowhere"),))
    assert "behind 'nowhere' is not an IPv4 or IPv6 address" in wrong


def test_a_client_is_told_what_other_hosts_say_with_their_next_hop() -> None:
    text = protocol(config(Peer("2001:db8::2", 65000, "client")), "host_2001_0db8(_0000){5}_0002")
    assert "rr client;" in text and "multihop;" in text and "local 2001:db8::1 as 65000;" in text
    assert "bgp_next_hop = 2001:db8::1; accept; } if is_hosts() then accept;" in text


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        (Peer("nowhere", 65000), "peer nowhere: address 'nowhere' is not an IPv4 or IPv6 address"),
        (Peer("192.0.2.2", 0), "peer 192.0.2.2: asn 0 is not an AS number of 1 to 4294967295"),
        (Peer("192.0.2.2", 65000, password='a"b'), "peer 192.0.2.2: the password is not 1 to 80 printable ASCII"),
        (Peer("192.0.2.2", 65000, password="x" * 81), "peer 192.0.2.2: the password is not 1 to 80 printable ASCII"),
        (Peer("192.0.2.2", 65000, "outside", announce=("10.1",)), "announce '10.1' is not an IPv4 or IPv6 network"),
        (
            Peer("192.0.2.2", 65000, "outside", announce=("10.1.0.0/24",), communities=("65536:1",)),
            "community '65536:1' is neither two numbers of 0 to 65535",
        ),
    ],
)
def test_what_cannot_be_written_is_told_and_left_out(peer: Peer, words: str) -> None:
    assert words in bird.fault(SPEAKER, peer)


def test_a_peer_of_an_ip_version_that_the_host_lacks_is_told() -> None:
    fault = bird.fault(Speaker(65000, "192.0.2.1", ("192.0.2.1",)), Peer("2001:db8::2", 65000))
    assert fault == "peer 2001:db8::2: the host has no IPv6 address in the underlay to talk from"


def test_sessions_are_told_by_the_peers_address() -> None:
    lines = [
        "Name       Proto      Table      State  Since         Info",
        "kernel4    Kernel     master4    up     08:34:38.672  ",
        "host_192_0_2_2 BGP        ---        up     08:34:39.488  Established   ",
        "host_2001_0db8_0000_0000_0000_0000_0000_0003 BGP ---  start  08:34:39.488  Active        Socket: No route",
    ]
    assert bird.sessions("\n".join(lines)) == {"192.0.2.2": True, "2001:db8::3": False}


def answer_with(path: Path, *parts: bytes) -> None:
    """Be a BIRD that greets, hears a command, and answers in parts."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.sendall(b"0001 BIRD 2.0.12 ready.\n")
            connection.recv(100)
            for part in parts:
                connection.sendall(part)

    threading.Thread(target=serve, daemon=True).start()


def test_an_answer_of_several_lines_is_read_whole(tmp_path: Path) -> None:
    answer_with(tmp_path / "ctl", b"1007-one\n two\n100", b"7-three\n0000 \n")
    assert birdc.ask(tmp_path / "ctl", "show").splitlines() == ["one", "two", "three"]


def test_a_refusal_is_raised_in_birds_words(tmp_path: Path) -> None:
    answer_with(tmp_path / "ctl", b"0002-Reading configuration\n8002 bird.conf:3 syntax error\n")
    with pytest.raises(OSError, match="conf:3 syntax error"):
        birdc.ask(tmp_path / "ctl", "configure")


def test_one_that_hangs_up_is_told(tmp_path: Path) -> None:
    answer_with(tmp_path / "ctl", b"0002-Reading")
    with pytest.raises(ConnectionResetError):
        birdc.ask(tmp_path / "ctl", "configure")


def test_an_agent_tells_of_sessions_and_of_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short, and that of a folder need not be
    here, troubles = Path(), [f"BGP: peer 192.0.2.{number}: no" for number in range(9)]
    assert facts(here, []) == {}
    assert facts(here, troubles) == {"bgp_trouble": "; ".join(troubles[:5])}
    table = b"1002-host_192_0_2_2 BGP --- up t Established\n host_192_0_2_3 BGP --- start t Active\n0000 \n"
    answer_with(here / bird.CONTROL, table)
    assert facts(here, troubles[:1]) == {
        "bgp_trouble": troubles[0],
        "bgp_sessions": "1 of 2",
        "bgp_down": "192.0.2.3",
    }


def host_of_bird() -> BirdHost:
    return BirdHost(lambda machine: SpeakerDriver(FakeBird(machine)), {SPEAKER_KEY})


def test_a_bad_peer_is_told_under_its_key_and_does_not_stop_the_others() -> None:
    host = host_of_bird()
    bad = Peer("192.0.2.3", 65000, password="\n")
    troubles = host.work(SPEAKER, HOST, bad)
    assert troubles.keys() == {bad.key} and "the password is not" in troubles[bad.key].reason
    assert host.running() == bird.config(SPEAKER, [HOST], "/run/bgp")


def test_a_configuration_that_bird_refuses_leaves_it_with_the_old_one() -> None:
    host = host_of_bird()
    assert host.work(SPEAKER, HOST) == {}
    process = host.machine.process
    host.machine.refused = "192.0.2.9"
    assert host.work(SPEAKER, HOST, OUTSIDE) == {SPEAKER_KEY: Trouble("BGP: syntax error")}
    assert host.machine.process == process
    host.machine.process = None
    assert host.work(SPEAKER, HOST, OUTSIDE) == {SPEAKER_KEY: Trouble("BGP: syntax error")}
    assert host.running() == bird.config(SPEAKER, [HOST], "/run/bgp")


def test_without_bird_the_speaker_says_what_to_install() -> None:
    host = host_of_bird()
    host.machine.is_there = False
    assert host.work(SPEAKER) == {SPEAKER_KEY: Trouble("BGP: BIRD is not installed (package bird2)")}


def test_one_that_hangs_is_replaced() -> None:
    host = host_of_bird()
    assert host.work(SPEAKER) == {}
    before, host.machine.hangs = host.machine.process, True
    assert host.work(SPEAKER) == {}
    assert host.machine.process != before


def test_a_new_agent_leaves_it_alone_and_sweeps_it_with_its_routes_when_it_is_wanted_no_more() -> None:
    host = host_of_bird()
    assert host.work(SPEAKER, HOST) == {}
    writes = host.machine.faults.writes
    host.restart()
    assert host.work(SPEAKER, HOST) == {}
    assert host.machine.faults.writes == writes
    assert host.work() == {}
    assert host.machine.process is None and not host.machine.learnt and not host.machine.kept


@pytest.mark.parametrize("deadly", [False, True], ids=["refused", "killed"])
@pytest.mark.parametrize("wanted", [(SPEAKER, OUTSIDE), ()], ids=["changed", "gone"])
def test_whatever_fails_meanwhile_it_ends_as_wanted(wanted: tuple[HostObject, ...], *, deadly: bool) -> None:
    number, struck = 0, True
    while struck:
        number += 1
        host = host_of_bird()
        assert host.work(SPEAKER, HOST) == {}
        host.machine.faults.arm(number, deadly=deadly)
        with suppress(Crash):
            host.work(*wanted)
        host.restart()
        struck = host.machine.faults.disarm()
        assert host.work(*wanted) == {}
        assert (host.machine.process is None) == (not wanted)
        assert not wanted or host.running() == config(OUTSIDE)
        assert bool(wanted) or not (host.machine.learnt or host.machine.kept)
    assert number > 2


def test_nothing_of_a_password_is_in_what_is_told_of_an_item() -> None:
    wanted = Wanted()
    wanted.change([SPEAKER, Peer("192.0.2.2", 65000, password="secret")], (), whole=True)
    items, _ = SpeakerDriver(FakeBird(BirdMachine(Faults()))).plan(wanted, wanted.objects.keys())
    assert items and "secret" not in str(items)


def test_what_a_peer_is_told_of_routers_changes_the_speaker_and_goes_with_it() -> None:
    wanted, driver = Wanted(), SpeakerDriver(FakeBird(BirdMachine(Faults())))
    wanted.change([SPEAKER, OUTSIDE], (), whole=True)
    behind = Behind(OUTSIDE.address, (("10.9.0.0/24", "203.0.113.5"),))
    plain = driver.plan(wanted, {SPEAKER_KEY})[0][SPEAKER_KEY]
    assert SPEAKER_KEY in wanted.change([behind], ())
    told = driver.plan(wanted, {SPEAKER_KEY})[0][SPEAKER_KEY]
    assert "bgp_next_hop = 203.0.113.5;" in told.config and told != plain
    assert SPEAKER_KEY in wanted.change((), [behind.key])
    assert driver.plan(wanted, {SPEAKER_KEY})[0][SPEAKER_KEY] == plain
