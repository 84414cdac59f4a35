# SPDX-License-Identifier: Apache-2.0
"""Which ports' packets are written down for which logs. Pure; may import what `contract` may."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from portico.hoststate import Log
from portico.model.log import PacketLog
from portico.model.snapshot import Port, Snapshot


def logs(want: Snapshot, port: Port) -> tuple[Log, ...]:
    """Return the logs of a port that has port security."""
    if not want.logs:
        return ()
    subjects = {port.id, port.project_id, *port.group_ids}
    ids = {log_id for subject_id in subjects for log_id in want.logs_of_subject.get(subject_id, ())}
    found = (want.logs[log_id] for log_id in sorted(ids))
    return tuple(Log(log.id, log.project_id, log.event, log.group_id) for log in found if _concerns(log, port))


def _concerns(log: PacketLog, port: Port) -> bool:
    """Tell whether a log, whose subject a port has to do with, is about the port."""
    if not log.enabled or (log.port_id and log.port_id != port.id):
        return False
    return not log.group_id or log.group_id in port.group_ids


def hosts(want: Snapshot, log_ids: Collection[str], before: Mapping[str, PacketLog]) -> set[str]:
    """Return the hosts of ports that changed logs are or were about; `before` has those of the last plan."""
    changed = [known[log_id] for log_id in log_ids for known in (before, want.logs) if log_id in known]
    found: set[str] = set()
    for log in changed:
        if log.port_id:
            port = want.ports.get(log.port_id)
            found.update(port.hosts if port else ())
        elif log.group_id:
            found.update(want.hosts_of_group.get(log.group_id, ()))
        else:
            mine = (port for port in want.ports.values() if port.project_id == log.project_id)
            found.update(host for port in mine for host in port.hosts)
    return found
