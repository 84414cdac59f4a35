# SPDX-License-Identifier: Apache-2.0
"""Where the agent of this host works, by the settings. Loads little: each of Portico's processes has it in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.settings import Settings

if TYPE_CHECKING:
    from portico.agent.runtime import Place


def place_of(settings: Settings) -> Place:
    """Return where the agent of these settings works."""
    from portico.agent.packet_log import Bounds
    from portico.agent.runtime import Place

    agent = settings.agent
    return Place(
        agent.netns,
        settings.state_dir,
        settings.run_dir,
        agent.reconcile_s,
        agent.idle_bridge_s,
        agent.physical_networks,
        agent.fast_path,
        Bounds(agent.log_rate, agent.log_burst, agent.log_file_mib << 20, agent.log_files),
    )
