# SPDX-License-Identifier: Apache-2.0
"""The BGP speaker of a host: a BIRD in the host's namespace. It outlives the agent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from portico.agent import bird
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.speaker import Bird
from portico.hoststate import Behind, Peer, Speaker
from portico.hoststate.speaker import SPEAKER_KEY


@dataclass(frozen=True, slots=True)
class SpeakerItem:
    """A speaker as wanted or found; `digest` stands for its configuration, in which there may be passwords."""

    digest: str
    running: bool = True
    config: str = field(default="", repr=False, compare=False)


class SpeakerDriver:
    """The key `speaker/routed`; peers and what is told to them are part of its item."""

    def __init__(self, speaker: Bird) -> None:
        self._bird = speaker

    def fileno(self) -> int:
        """Return a descriptor that is readable when BIRD has ended."""
        return self._bird.fileno()

    def ended(self) -> list[str]:
        """Return the key of the speaker if BIRD has ended since the last call."""
        return [SPEAKER_KEY] if self._bird.has_ended() else []

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver. A peer that cannot be written into the configuration is left out of it."""
        speaker = wanted.objects.get(SPEAKER_KEY)
        if not isinstance(speaker, Speaker):
            return {}, {}
        behind = {item.peer: item.routes for item in wanted.of(Behind)}
        found = ((peer.key, bird.fault(speaker, peer, behind.get(peer.address, ()))) for peer in wanted.of(Peer))
        faults = {key: fault for key, fault in found if fault}
        troubles = {key: Trouble(f"BGP: {fault}") for key, fault in faults.items() if key in keys}
        if SPEAKER_KEY not in keys:
            return {}, troubles
        peers = [peer for peer in wanted.of(Peer) if peer.key not in faults]
        try:
            text = bird.config(speaker, peers, str(self._bird.folder), behind)
        except ValueError as error:
            return {}, {**troubles, SPEAKER_KEY: Trouble(f"BGP: {error}")}
        return {SPEAKER_KEY: SpeakerItem(bird.digest(text), config=text)}, troubles

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        if keys is not None and SPEAKER_KEY not in keys:
            return {}
        if self._bird.pid() is not None:
            return {SPEAKER_KEY: SpeakerItem(bird.digest(self._bird.config()))}
        return {SPEAKER_KEY: SpeakerItem("", running=False)} if self._bird.is_known() else {}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        try:
            if delta.gone:
                self._bird.end()
                self._bird.remove()
            for item in delta.put.values():
                self._bird.put(item.config)
        except OSError as error:
            return dict.fromkeys([*delta.gone, *delta.put], Trouble(f"BGP: {error.strerror or error}"))
        return {}
