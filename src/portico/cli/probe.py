# SPDX-License-Identifier: Apache-2.0
"""What the kernel can do, found out by doing it in a network namespace that goes away with the thread that made it."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000  # linux/sched.h
TIMEOUT_S = 10
# "Let everything pass" in classic BPF: one instruction, `ret #-1`.
MATCH_ALL = "1,6 0 0 4294967295"


class Feature(NamedTuple):
    """Something that the kernel must be able to do, and the module that brings it.

    What serves one purpose alone (`only_for`) may be left out by who has no use for that.
    """

    name: str
    module: str
    commands: Sequence[str]
    only_for: str = ""


# Each builds on the links of those before. The commands are words for ip(8) and tc(8), not for a shell.
FEATURES = (
    Feature("bridge", "bridge", ["ip link add br0 type bridge"]),
    Feature("veth", "veth", ["ip link add p0 type veth peer name p1", "ip link set p0 master br0"]),
    Feature("br_netfilter", "br_netfilter", ["ip link set br0 type bridge nf_call_iptables 1 nf_call_ip6tables 1"]),
    Feature("tap", "tun", ["ip tuntap add dev t0 mode tap"]),
    Feature(
        "cls_bpf and act_mirred",
        "cls_bpf act_mirred sch_ingress",
        [
            "tc qdisc add dev t0 clsact",
            f"tc filter add dev t0 ingress bpf bytecode '{MATCH_ALL}' action mirred egress redirect dev p1",
        ],
    ),
    Feature(
        "ifb and sch_tbf",
        "ifb sch_tbf",
        ["ip link add i0 type ifb", "tc qdisc add dev i0 root tbf rate 1mbit burst 10kb limit 10kb"],
        "limits of bandwidth",
    ),
    Feature(
        "sch_htb",
        "sch_htb",
        ["tc qdisc replace dev i0 root handle 1: htb", "tc class add dev i0 parent 1: classid 1:1 htb rate 1mbit"],
        "limits of bandwidth of floating IPs and gateways",
    ),
)
# What routers, floating IPs and published ports do to addresses.
TRANSLATION = """
table inet nat {
  chain out {
    type nat hook postrouting priority srcnat
    oifname "p0" masquerade
    ip saddr 192.0.2.1 snat ip to 192.0.2.2
  }
  chain in {
    type nat hook prerouting priority dstnat
    ip daddr 192.0.2.2 tcp dport 80 dnat ip to 192.0.2.1:8080
  }
}
"""
BRIDGE_SYSCTL = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def kernel() -> list[tuple[Feature, str]]:
    """Return every feature with the reason why it does not work, empty if it does.

    Raises:
        OSError: no network namespace can be made; not root?
    """
    return _in_new_namespace(lambda: [(feature, _try(feature)) for feature in FEATURES])


def filter_rules() -> str:
    """Load the agent's own rules and return why they are refused; empty if they are not.

    Raises:
        OSError: libnftables is not there, or no namespace can be made.
    """
    from portico.agent.ruleset import skeleton

    return refusal(skeleton())


def refusal(rules: str) -> str:
    """Return why nftables refuses rules; empty if it does not.

    Raises:
        OSError: libnftables is not there, or no namespace can be made.
    """
    from portico.agent.drivers.libnftables import Nft, NftError

    def load() -> str:
        nft = Nft()
        try:
            nft.run(rules)
        except NftError as error:
            return str(error)
        finally:
            nft.close()
        return ""

    return _in_new_namespace(load)


def _try(feature: Feature) -> str:
    for command in feature.commands:
        words = shlex.split(command)
        program = shutil.which(words[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
        if program is None:
            return f"{words[0]} is not installed (package iproute2)"
        done = subprocess.run([program, *words[1:]], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode != 0:
            return done.stderr.strip().partition("\n")[0] or f"{command}: exit code {done.returncode}"
    if feature.module == "br_netfilter" and not BRIDGE_SYSCTL.exists():
        # The kernel takes the attribute without the module; only the module gives it an effect.
        return f"{BRIDGE_SYSCTL} is not there"
    return ""


def _in_new_namespace(action: Callable[[], T]) -> T:
    """Run `action` in a thread of its own with a network namespace of its own; both end with it."""
    results: list[T] = []
    errors: list[OSError] = []

    def run() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            results.append(action())
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
