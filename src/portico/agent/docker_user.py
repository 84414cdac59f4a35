# SPDX-License-Identifier: Apache-2.0
"""What an engine's firewall must let pass: rules in its chain DOCKER-USER, where there is one.

An engine that switches forwarding on has the host drop whatever it does not know, and a rule of another table cannot
undo that. DOCKER-USER is what Docker leaves to others. Ours come after the rules that are there: those of the user
hold. By the iptables program, as Docker does it, for that alone knows by which of two ways the rules are kept.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Collection, Sequence

from portico.agent import kernel, owner
from portico.agent.host_rules import host_link

CHAIN = "DOCKER-USER"
PROGRAMS = ("iptables", "ip6tables")
_COMMENTED = re.compile(r'-A DOCKER-USER (?:-[io] \S+ )+-m comment --comment "?([^"]*)"? -j ACCEPT')


class DockerUser:
    """The chain in the namespace that `netns` describes, for the agent of `name`.

    The routed space has an uplink of its own there.
    """

    def __init__(self, netns: int, name: str) -> None:
        self._netns = netns
        self._name = name

    def read(self, networks: Collection[str]) -> dict[str, bool]:
        """Return whether uplinks pass: those of `networks`, and all that have rules of this agent's there."""
        there = [lines for lines in map(self._lines, PROGRAMS) if lines is not None]
        known = {*networks, *(network_id for lines in there for line in lines if (network_id := self._network(line)))}
        return {network_id: all(self._is_right(network_id, lines) for lines in there) for network_id in known}

    def _is_right(self, network_id: str, lines: Sequence[str]) -> bool:
        label, *ways = map(_line, self._rules(network_id))
        return {*ways} <= {*lines} and [line for line in lines if self._network(line) == network_id] == [label]

    def put(self, network_id: str) -> None:
        """Let what comes from and goes to an uplink pass.

        Raises:
            OSError: iptables refuses.
        """
        self.remove(network_id)
        label, *ways = self._rules(network_id)
        for program in PROGRAMS:
            lines = self._lines(program)
            if lines is None:
                continue
            rules = [line for line in lines if line.startswith("-A ")]
            place = str(len(rules) if rules and rules[-1] == f"-A {CHAIN} -j RETURN" else len(rules) + 1)
            for rule in (label, *ways):
                self._run(program, "-I", CHAIN, place, *rule)

    def remove(self, network_id: str) -> None:
        """Remove the rules of an uplink; none is fine.

        Raises:
            OSError: iptables refuses.
        """
        label, *ways = map(_line, self._rules(network_id))
        for program in PROGRAMS:
            lines = self._lines(program) or ()
            own = [way for way in ways if way in lines] if label in lines else []
            for line in [*own, *(line for line in lines if self._network(line) == network_id)]:
                self._run(program, "-D", *shlex.split(line)[1:])

    def _rules(self, network_id: str) -> Sequence[Sequence[str]]:
        """Return the rules of an uplink: one that says whose they are, and two that let pass.

        The label stands behind the two, so that no packet comes to it: to pass a comment costs as much as a rule. It is
        put first and removed last, for without it the others may be anybody's.
        """
        link = host_link(network_id, self._name)
        comment = owner.alias(network_id, "uplink", self._name)
        label = ("-i", link, "-o", link, "-m", "comment", "--comment", comment)
        return [(*words, "-j", "ACCEPT") for words in (label, ("-i", link), ("-o", link))]

    def _network(self, line: str) -> str:
        """Return whose uplink's a rule is, by its comment; empty if it has none of this agent's."""
        commented = _COMMENTED.fullmatch(line)
        words = owner.words(commented[1]) if commented else []
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


def _line(rule: Sequence[str]) -> str:
    """Return a rule as the program tells it."""
    return " ".join(["-A", CHAIN, *(f'"{word}"' if " " in word else word for word in rule)])
