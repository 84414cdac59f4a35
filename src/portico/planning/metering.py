# SPDX-License-Identifier: Apache-2.0
"""What routers count for metering labels. Pure; may import what `contract` may."""

from __future__ import annotations

from collections.abc import Mapping

from portico.contract import Dirty
from portico.hoststate.metering import Meter, MeterRule
from portico.model.metering import MeteringLabel, MeteringLabelRule
from portico.model.snapshot import Router, Snapshot


def meters(want: Snapshot, router: Router) -> tuple[Meter, ...]:
    """Return the labels for which a router counts: those of its project and shared ones, as far as they have rules."""
    found = (label for label in want.labels.values() if label.shared or label.project_id == router.project_id)
    return tuple(
        Meter(label.id, tuple(_rule(want.label_rules[rule_id]) for rule_id in sorted(want.rules_of_label[label.id])))
        for label in sorted(found, key=lambda label: label.id)
        if label.id in want.rules_of_label
    )


def _rule(rule: MeteringLabelRule) -> MeterRule:
    return MeterRule(rule.direction, rule.source, rule.destination, rule.excluded)


def routers(
    want: Snapshot, dirty: Dirty, labels: Mapping[str, MeteringLabel], rules: Mapping[str, MeteringLabelRule]
) -> set[str]:
    """Return the routers that changed labels and rules concern; `labels` and `rules` are those of the last plan."""
    ids = {*dirty.ids.get("metering_label", ())}
    for rule_id in dirty.ids.get("metering_label_rule", ()):
        ids |= {known[rule_id].label_id for known in (rules, want.label_rules) if rule_id in known}
    changed = [known[label_id] for label_id in ids for known in (labels, want.labels) if label_id in known]
    projects = {label.project_id for label in changed}
    is_shared = any(label.shared for label in changed)
    return {item.id for item in want.routers.values() if is_shared or item.project_id in projects}
