# SPDX-License-Identifier: Apache-2.0
"""QoS policies, and what networks and ports have of them.

A policy's row has a copy of its rules: that is what answers show of it, and what is in force.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from portico.errors import Conflict, Forbidden, NotFound, Unsupported
from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER
from portico.model.qos import RULE_TYPES
from portico.rules import lookup, sharing
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

# What may have a policy, and Neutron's word for it.
_USERS = ("network", "port", "floatingip")
# What of a policy can be kept where it is not about a port's own traffic but about an address outside.
_OUTSIDE = frozenset({"bandwidth_limit"})


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a policy without rules."""
    if body.get("is_default"):
        _refuse_second_default(tx, body["project_id"])
    made = tx.insert("policy", {**body, "id": str(uuid.uuid4()), "rules": [], "tags": []})
    if body.get("shared"):
        sharing.share(tx, "policy", made)
    return made


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change what a policy is called, who may use it, and whether it is its project's default."""
    if changes.get("is_default") and not row["is_default"]:
        _refuse_second_default(tx, row["project_id"])
    if "shared" in changes:
        (sharing.share if changes["shared"] else sharing.unshare)(tx, "policy", row)
    return tx.update("policy", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a policy with its rules.

    Raises:
        Conflict: names what has it.
    """
    for kind in _USERS:
        for user in tx.find(kind, qos_policy_id=row["id"]):
            is_gateway = user.get("device_owner") == GATEWAY_OWNER
            used_by = lookup.named(tx, context, *(("router", user["device_id"]) if is_gateway else (kind, user["id"])))
            raise Conflict(f"QoS Policy {row['id']} is used by {used_by}.", type="QosPolicyInUse")
    for rule in row["rules"]:
        kind = f"{rule['type']}_rule"
        tx.delete(kind, lookup.get(tx, kind, rule["id"]))
    sharing.forget(tx, "policy", row["id"])
    tx.delete("policy", row)


def present(tx: Transaction, context: Context, rows: list[Row]) -> list[Row]:
    """Add `shared`."""
    sharing.present(tx, context, "policy", rows)
    return rows


def _refuse_second_default(tx: Transaction, project_id: str) -> None:
    if tx.find("policy", project_id=project_id, is_default=True):
        raise Conflict(f"A default QoS policy exists for project {project_id}.", type="QoSPolicyDefaultAlreadyExists")


def default_of(tx: Transaction, project_id: str) -> str | None:
    """Return the policy that networks of a project get when they name none."""
    return next((str(row["id"]) for row in tx.find("policy", project_id=project_id, is_default=True)), None)


def check_network(tx: Transaction, context: Context, before: Row | None, after: Row) -> None:
    """Refuse a network, as it would be, for its policy.

    Raises:
        NotFound: there is no such policy for who asks.
        Forbidden: the policy that it had is none that who asks may see.
        Conflict: its backend does not realise a rule.
    """
    _check_exchange(tx, context, before, after)
    _check_rules(tx, context, after, after, f"network {after['id']}")


def check_port(tx: Transaction, context: Context, before: Row | None, after: Row, network: Row) -> None:
    """Refuse a port, as it would be, for its own policy; raises what `check_network` does."""
    if (before or {}).get("qos_policy_id") == after.get("qos_policy_id"):
        return
    if after["device_owner"] == GATEWAY_OWNER:
        check_gateway(tx, context, before, after, network)
    else:
        _check_exchange(tx, context, before, after)
        _check_rules(tx, context, after, network, f"port {after['id']}")


def check_gateway(tx: Transaction, context: Context, before: Row | None, after: Row, network: Row) -> None:
    """Refuse the port of a router's gateway, as it would be, for its policy; raises what `check_outside` does."""
    had, wanted = (
        row and {"id": after["device_id"], "qos_policy_id": row.get("qos_policy_id")} for row in (before, after)
    )
    check_outside(tx, context, had, wanted or {}, network, "router")


def check_outside(tx: Transaction, context: Context, before: Row | None, after: Row, network: Row, kind: str) -> None:
    """Refuse a floating IP or a router, as it would be, for the policy that it or its gateway is to have.

    Args:
        before, after: with `id` and `qos_policy_id`.
        network: the external one.
        kind: the resource.

    Raises:
        NotFound: there is no such policy for who asks.
        Forbidden: the policy that it had is none that who asks may see.
        Conflict: a rule of it is not about bandwidth.
        Unsupported: the backend limits nothing there.
    """
    _check_exchange(tx, context, before, after)
    if policy_id := after.get("qos_policy_id"):
        inside = tx.find("port", device_id=after["id"], device_owner=INTERFACE_OWNER) if kind == "router" else []
        for near in (network, *tx.get_many("network", sorted({port["network_id"] for port in inside}))):
            context.broker.admit(kind, before, after, near)
        _admit_outside(lookup.get(tx, "policy", policy_id)["rules"], f"{kind} {after['id']}")


def _admit_outside(rules: Sequence[Row], word: str) -> None:
    for rule in rules:
        if rule["type"] not in _OUTSIDE:
            raise Conflict(
                f"Rule {rule['type']} is not supported by {word}: of what passes a router's gateway only bandwidth is "
                "limited.",
                type="QosRuleNotSupported",
            )


def _check_rules(tx: Transaction, context: Context, row: Row, network: Row, word: str) -> None:
    if policy_id := row.get("qos_policy_id"):
        _admit(context, policy_id, lookup.get(tx, "policy", policy_id)["rules"], network, word)


def admit(tx: Transaction, context: Context, policy_id: str, rules: Sequence[Row]) -> None:
    """Refuse rules, as they would be, that some port or network with the policy cannot have.

    Raises:
        Conflict: names the rule, the object and why not.
    """
    for network, word in _places(tx, policy_id):
        _admit(context, policy_id, rules, network, word)
    for item in tx.find("floatingip", qos_policy_id=policy_id):
        _admit_outside(rules, f"floatingip {item['id']}")
    for item in tx.find("port", qos_policy_id=policy_id, device_owner=GATEWAY_OWNER):
        _admit_outside(rules, f"router {item['device_id']}")


def _places(tx: Transaction, policy_id: str) -> Iterator[tuple[Row, str]]:
    """Yield the networks where a policy is in force, each once, with the words for what has it there."""
    seen: set[str] = set()
    for network in tx.find("network", qos_policy_id=policy_id):
        seen.add(network["id"])
        yield network, f"network {network['id']}"
    for port in tx.find("port", qos_policy_id=policy_id):
        if port["network_id"] not in seen:
            seen.add(port["network_id"])
            yield lookup.get(tx, "network", port["network_id"]), f"port {port['id']}"


def _admit(context: Context, policy_id: str, rules: Sequence[Row], network: Row, word: str) -> None:
    for rule in rules:
        try:
            context.broker.admit("policy", None, {"id": policy_id, "rules": [rule]}, network)
        except Unsupported as error:
            raise Conflict(
                f"Rule {rule['type']} is not supported by {word}: {error.message}",
                type="QosRuleNotSupportedByNetwork" if word.startswith("network") else "QosRuleNotSupported",
            ) from error


def _check_exchange(tx: Transaction, context: Context, before: Row | None, after: Row) -> None:
    had, wanted = (before or {}).get("qos_policy_id"), after.get("qos_policy_id")
    if had == wanted:
        return
    if had and lookup.seen(tx, context, "policy", had) is None:
        raise Forbidden(
            f"Failed to remove provided policy {had} because you are not authorized.",
            type="PolicyRemoveAuthorizationError",
        )
    if wanted:
        lookup.visible(tx, context, "policy", wanted)


def types(context: Context, *, some: bool = False) -> list[str]:
    """Return the types of rules that all backends realise which who asks may choose; with `some`, any of them."""
    found = [_realised(context, name) for name in context.broker.offered(context.project_id)]
    if not found:
        return []
    return sorted(set.union(*found) if some else set.intersection(*found))


def drivers(context: Context, kind: str) -> list[str]:
    """Return the backends that realise a type of rules.

    Raises:
        NotFound: policies have no such rules.
    """
    if kind not in RULE_TYPES:
        raise NotFound(f"Rule type {kind[:40]} could not be found.", type="QosRuleTypeNotFound")
    return [name for name in context.broker.offered(context.project_id) if kind in _realised(context, name)]


def _realised(context: Context, backend: str) -> set[str]:
    features = context.broker.capabilities(backend).features
    return {kind for kind in RULE_TYPES if f"qos-{kind.replace('_', '-')}" in features}
