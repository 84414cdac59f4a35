# SPDX-License-Identifier: Apache-2.0
"""Texts for who may not see where ports are: names of hosts and physical networks are left out of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from portico.rules import agent
from portico.rules.context import Context
from portico.store import select
from portico.store.transaction import Transaction

HIDDEN = "***"
_PHYSICAL = "physical network"
# What may be a name, without the punctuation of the sentence that it stands in.
_NAME = re.compile(r"[\w.-]*\w")


def discreet(tx: Transaction, context: Context, texts: Sequence[str], *hosts: str) -> list[str]:
    """Return texts as who asks may read them: who sees no `binding:host_id` finds `***` for hosts and wires.

    Args:
        hosts: those that texts may name although no agent of theirs has ever reported.
    """
    if "binding:host_id" not in context.policy.secrets(context, "port"):
        return list(texts)
    words = {word for text in texts for word in _NAME.findall(text)}
    of = tx.tables.of
    names = words.intersection(hosts) | _among(tx, of["agent"].c.host, words)
    if any(_PHYSICAL in text for text in texts):
        # Those that no network is on are known by the agents alone.
        names |= _among(tx, of["network"].c["provider:physical_network"], words)
        names |= words.intersection(agent.physical_networks(tx))
    if not names:
        return list(texts)
    return [_NAME.sub(lambda found: HIDDEN if found[0] in names else found[0], text) for text in texts]


def _among(tx: Transaction, column: sa.Column[str], words: Collection[str]) -> set[str]:
    """Return which of the words a column has."""
    found: set[str] = set()
    for part in select.parts(sorted(words)):
        found.update(tx.connection.execute(sa.select(column).where(column.in_(part)).distinct()).scalars())
    return found
