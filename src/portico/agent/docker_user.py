# SPDX-License-Identifier: Apache-2.0
"""What an engine's firewall must let pass: rules in its chain DOCKER-USER, where there is one.

An engine that switches forwarding on has the host drop whatever it does not know, and a rule of another table cannot
undo that. DOCKER-USER is what Docker leaves to others. Ours come after the rules that are there: those of the user
hold. By the iptables program, as Docker does it, for that alone knows by which of two ways the rules are kept.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Sequence

from portico.agent import kernel, owner
from portico.agent.host_rules import host_link

CHAIN = "DOCKER-USER"
PROGRAMS = ("iptables", "ip6tables")
_WAY = re.compile(r'-A DOCKER-USER -[io] (\S+) -m comment --comment "?([^"]*)"? -j ACCEPT')


class DockerUser:
    """The chain in the namespace that `netns` describes, for the agent of `name`.

    The routed space has an uplink of its own there.
    """

    def __init__(self, netns: int, name: str) -> None:
        self._netns = netns
        self._name = name

    def read(self, networks: Collection[str]) -> dict[str, bool]:
        """Return whether uplinks pass: those of `networks`, and all that have rules of this agent's there."""
        there = [self._ways(lines) for lines in map(self._lines, PROGRAMS) if lines is not None]
        known = {*networks, *(network_id for ways in there for network_id in ways)}
        return {
            network_id: all(ways.get(network_id) == [host_link(network_id, self._name)] * 2 for ways in there)
            for network_id in known
        }

    def _ways(self, lines: Sequence[str]) -> dict[str, list[str]]:
        """Return the links that our rules among `lines` name, by network."""
        ways: dict[str, list[str]] = {}
        for line in lines:
            if (rule := _WAY.fullmatch(line)) and (network_id := self._network(rule[2])):
                ways.setdefault(network_id, []).append(rule[1])
        return ways

    def put(self, network_id: str) -> None:
        """Let what comes from and goes to an uplink pass.

        Raises:
            OSError: iptables refuses.
        """
        self.remove(network_id)
        link = host_link(network_id, self._name)
        comment = owner.alias(network_id, "uplink", self._name)
        for program in PROGRAMS:
            lines = self._lines(program)
            if lines is None:
                continue
            rules = [line for line in lines if line.startswith("-A ")]
            before_end = bool(rules) and rules[-1] == f"-A {CHAIN} -j RETURN"
            where = ("-I", CHAIN, str(len(rules))) if before_end else ("-A", CHAIN)
            for way in ("-i", "-o"):
                self._run(program, *where, *_rule(way, link, comment))

    def remove(self, network_id: str) -> None:
        """Remove the rules of an uplink; none is fine.

        Raises:
            OSError: iptables refuses.
        """
        for program in PROGRAMS:
            for line in self._lines(program) or ():
                rule = _WAY.fullmatch(line)
                if rule and self._network(rule[2]) == network_id:
                    way = line.split()[2]
                    self._run(program, "-D", CHAIN, *_rule(way, rule[1], rule[2]))

    def _network(self, comment: str) -> str:
        """Return whose uplink's a rule is, by its comment; empty if none of this agent's."""
        words = owner.words(comment)
        return words[0] if words[1:] == ["uplink", self._name] else ""

    def _lines(self, program: str) -> list[str] | None:
        """Return the rules of the chain as the program tells them; None if there is no such chain."""
        try:
            done = self._call(program, "-S", CHAIN)
        except FileNotFoundError:
            return None
        return done.stdout.splitlines() if done.returncode == 0 else None

    def _run(self, program: str, *arguments: str) -> None:
        done = self._call(program, *arguments)
        if done.returncode != 0:
            raise OSError(done.returncode, f"{program} {' '.join(arguments)}: {done.stderr.strip()}")

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        def call() -> subprocess.CompletedProcess[str]:
            # -w: others change the rules too, and wait for each other.
            return subprocess.run([program, "-w", "5", *arguments], check=False, capture_output=True, text=True)

        return kernel.within(self._netns, call)


def _rule(way: str, link: str, comment: str) -> Sequence[str]:
    return (way, link, "-m", "comment", "--comment", comment, "-j", "ACCEPT")
