# SPDX-License-Identifier: Apache-2.0
"""On which agents' hosts BGP speakers speak, in the words of neutron-dynamic-routing's scheduler: on all but some."""

from __future__ import annotations

from portico.errors import Conflict, NotFound
from portico.rules import lookup
from portico.rules.context import Context, Row
from portico.store.query import Query
from portico.store.transaction import Transaction

EXCLUDED = "portico:excluded_hosts"


def speakers_on(tx: Transaction, context: Context, agent_id: str) -> list[Row]:
    """Return the speakers on an agent's host.

    Raises:
        NotFound: there is no such agent.
    """
    agent = lookup.visible(tx, context, "agent", agent_id)
    rows = tx.list("bgp_speaker", Query(), context.policy.visible(tx.tables, context, "bgp_speaker"))
    return [row for row in rows if agent["host"] not in row[EXCLUDED]]


def agents_of(tx: Transaction, context: Context, speaker_id: str) -> list[Row]:
    """Return the agents of the hosts that a speaker is on.

    Raises:
        NotFound: there is no such speaker.
    """
    speaker = lookup.visible(tx, context, "bgp_speaker", speaker_id)
    rows = tx.list("agent", Query(), context.policy.visible(tx.tables, context, "agent"))
    return [row for row in rows if row["host"] not in speaker[EXCLUDED]]


def add(tx: Transaction, context: Context, agent_id: str, speaker_id: str) -> None:
    """Have a speaker speak on an agent's host again.

    Raises:
        Conflict: it does.
        NotFound: there is no such speaker or agent, or the agent is switched off.
    """
    agent, speaker = _both(tx, context, agent_id, speaker_id)
    if not agent["admin_state_up"]:
        raise NotFound(f"BgpDrAgent {agent_id} is invalid or has been disabled.", type="DrAgentInvalid")
    if agent["host"] not in speaker[EXCLUDED]:
        raise Conflict(f"BgpDrAgent {agent_id} is already associated to a BGP speaker.", type="DrAgentAssociationError")
    tx.update("bgp_speaker", speaker, {EXCLUDED: [host for host in speaker[EXCLUDED] if host != agent["host"]]})


def remove(tx: Transaction, context: Context, agent_id: str, speaker_id: str) -> None:
    """Have a speaker be silent on an agent's host.

    Raises:
        NotFound: it is, or there is no such speaker or agent.
    """
    agent, speaker = _both(tx, context, agent_id, speaker_id)
    if agent["host"] in speaker[EXCLUDED]:
        raise NotFound(
            f"BGP speaker {speaker_id} is not hosted by the BgpDrAgent {agent_id}.", type="DrAgentNotHostingBgpSpeaker"
        )
    tx.update("bgp_speaker", speaker, {EXCLUDED: [*speaker[EXCLUDED], agent["host"]]})


def _both(tx: Transaction, context: Context, agent_id: str, speaker_id: str) -> tuple[Row, Row]:
    agent = lookup.visible(tx, context, "agent", agent_id)
    return agent, lookup.visible(tx, context, "bgp_speaker", speaker_id)
