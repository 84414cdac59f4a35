# SPDX-License-Identifier: Apache-2.0
"""The packet filter: all rules of the host in two nft tables, changed in one transaction at a time.

What is in force is known by the kernel's generation number, which every transaction of anybody in our namespace
increments: as long as it is the one after our last transaction, the rules are what we made them. Otherwise (a
restart of the agent, a stranger's edit) both tables are compared with what they should be; where they differ, what is
in them is replaced whole, again in one transaction. Doing that for nothing would cost a packet now and then: one that
is among our rules just then may look into a set whose elements are out of force already.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Any

from portico.agent import filter_text, netlink, ruleset
from portico.agent.delta import Delta, Forgotten, Trouble, Wanted
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.drivers.libnftables import Nft, NftError
from portico.agent.fragment import Fragment, fragments, untranslated
from portico.agent.policies import Pace
from portico.agent.translated import Translated
from portico.agent.verdict import Judge
from portico.hoststate import ROUTED

GROUP_NFTABLES = 7
_NEW_GENERATION = 0x0A0F
_GET_GENERATION = 0x0A10
_GENERATION_ID = 1
_NFGEN = struct.Struct("=BBH")
_SO_ATTACH_FILTER = 26


class FilterDriver:
    """All keys but leases: the fragments of the rules that objects add.

    When rules changed, tracked connections that the new ones would not let in are cut. `pace` is as in `Ruleset`.
    """

    def __init__(self, nft: Nft, netfilter: netlink.Socket, conntrack: Conntrack, pace: Pace | None = None) -> None:
        self._nft = nft
        self._netfilter = netfilter
        self._conntrack = conntrack
        self._pace = pace
        self._rules = ruleset.Ruleset(pace)
        self._generation: int | None = None
        self._wanted = Wanted()
        self._uncut: dict[str, Fragment] = {}

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        self._wanted = wanted
        items, faults = fragments(wanted, keys)
        return items, {key: Trouble(fault) for key, fault in faults.items()}

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        if self._generation != self._kernel_generation():
            if keys is not None:
                raise Forgotten
            self._rules = ruleset.Ruleset(self._pace)
            self._generation = None
        fragments = self._rules.fragments
        return dict(fragments) if keys is None else {key: fragments[key] for key in keys if key in fragments}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        known = self._generation is not None
        put = dict(delta.put)
        troubles: dict[str, Trouble] = {}
        try:
            self._commit(put, delta.gone)
        except NftError as error:
            troubles = self._find_bad(put)
            put = {key: piece for key, piece in put.items() if key not in troubles}
            try:
                self._commit(put, delta.gone)
            except NftError:
                return {key: Trouble(f"nft: {error}") for key in [*delta.put, *delta.gone]}
        changed = [*put, *delta.gone]
        self._uncut |= {key: delta.before[key] for key in changed if key in delta.before}
        try:
            self._cut(changed if known else None)
        except OSError as error:
            # As after a restart: the next pass puts everything, and judges every connection.
            self._generation = None
            troubles |= {key: Trouble(f"connection tracking: {error}") for key in changed}
        return troubles

    def is_ours(self) -> bool:
        """Return whether the rules in our namespace are those of our last transaction."""
        return self._generation == self._kernel_generation()

    def _cut(self, changed: Collection[str] | None) -> None:
        """Cut connections that are no longer let in, after a change of the rules (None: of all of them).

        And those by floating addresses that stand for something else now, for they would go on as they were. When it is
        not known what was in force they themselves tell which.
        """
        now = self._rules.fragments
        if left := {
            ip_address(text).packed
            for key, before in self._uncut.items()
            for text in untranslated(before, now.get(key, Fragment()))
        }:
            self._conntrack.forget_floating(left)
        if changed is None and ROUTED in self._wanted.zones:
            self._conntrack.forget_mistranslated(Translated(now.values()))
        judge = Judge(self._wanted, changed, self._uncut)
        if judge.zones is None or judge.zones:
            self._conntrack.remove(judge)
        self._uncut = {}

    def _commit(self, put: Mapping[str, Fragment], gone: Collection[str]) -> None:
        """Put fragments in force; the rules stay as they were if nft refuses."""
        rules = self._rules
        before = {key: rules.fragments[key] for key in [*put, *gone] if key in rules.fragments}
        change = rules.change(put, gone)
        try:
            if self._generation is None:
                self._generation = self._replace()
            elif change:
                self._nft.run(ruleset.render(change))
                self._generation += 1
        except NftError:
            rules.change(before, [key for key in put if key not in before])
            raise

    def _replace(self) -> int:
        """Put all rules in force instead of whatever is in our tables; return the kernel's generation then."""
        generation = self._kernel_generation()
        standing = self._nft.tables(ruleset.TABLES)
        whole = ruleset.render_whole(self._rules)
        if len(standing) == len(ruleset.TABLES):
            try:
                if filter_text.blocks(standing) == filter_text.blocks(self._nft.tables_after(whole, ruleset.TABLES)):
                    return generation
                self._nft.run(ruleset.render_instead(self._rules, standing))
                return generation + 1
            except NftError:  # a stranger's chain has the name of one of ours, or a rule is bad
                pass
        self._nft.run(whole)
        return generation + 1

    def _find_bad(self, put: Mapping[str, Fragment]) -> dict[str, Trouble]:
        """Return the keys that nft refuses, found by halving; each fragment alone is a complete set of rules."""
        alone = ruleset.Ruleset(self._pace)
        alone.change(put)
        try:
            self._nft.check(ruleset.render_whole(alone))
        except NftError as error:
            if len(put) == 1:
                return {key: Trouble(f"nft: {error}") for key in put}
        else:
            return {}
        keys = sorted(put)
        halves = (keys[: len(keys) // 2], keys[len(keys) // 2 :])
        return {key: trouble for half in halves for key, trouble in self._find_bad({k: put[k] for k in half}).items()}

    def _kernel_generation(self) -> int:
        answer = self._netfilter.get(_GET_GENERATION, _NFGEN.pack(socket.AF_UNSPEC, 0, 0))
        return int.from_bytes(netlink.attributes(answer, _NFGEN.size)[_GENERATION_ID], "big")


def generation_events() -> netlink.Socket:
    """Return a socket that gets a message when anyone has changed the rules of the calling thread's namespace.

    The kernel tells every element of a change as well; a socket filter lets only the one that closes a change through.
    """
    listener = netlink.Socket(netlink.NETFILTER, [GROUP_NFTABLES])
    kind = socket.htons(_NEW_GENERATION)  # the filter loads in network order what netlink writes in the host's
    program = struct.pack(
        "=HBBIHBBIHBBIHBBI",
        *(0x28, 0, 0, 4),  # load the half-word at 4: the message type
        *(0x15, 0, 1, kind),  # equal? else skip one
        *(0x06, 0, 0, 0xFFFFFFFF),  # take it
        *(0x06, 0, 0, 0),  # drop it
    )
    code = ctypes.create_string_buffer(program)
    listener.option(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 4, ctypes.addressof(code)))
    return listener
