# SPDX-License-Identifier: Apache-2.0
"""Rules of security groups: what they may say, and that no group says the same thing twice."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import sqlalchemy as sa

from portico.errors import BadRequest, Conflict
from portico.model.converters import PROTOCOLS
from portico.rules import lookup, quota
from portico.rules.context import Context, Row
from portico.store import select
from portico.store.initial import PARENT
from portico.store.transaction import Transaction

ICMP, ICMPV6 = 1, 58
WITH_PORTS = frozenset(PROTOCOLS[name] for name in ("tcp", "udp", "dccp", "sctp", "udplite"))
IPV6_ONLY = frozenset(
    PROTOCOLS[name] for name in ("ipv6-encap", "ipv6-route", "ipv6-frag", "ipv6-icmp", "ipv6-nonxt", "ipv6-opts")
)
# Ranges and prefixes that match everything and so are the same as none.
ALL_PORTS = (1, 65535)
_REMOTES = ("remote_ip_prefix", "remote_group_id", "remote_address_group_id")
# What a rule takes over from the default rule that it is made from.
_COPIED = (
    *("direction", "ethertype", "protocol", "port_range_min", "port_range_max"),
    *("remote_ip_prefix", "remote_address_group_id"),
)
# The group that every project has.
DEFAULT_NAME = "default"
ANYWHERE = ("0.0.0.0/0", "::/0")


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Add a rule to a group.

    Raises:
        BadRequest: its attributes contradict each other.
        NotFound: the group, or the remote one, does not exist or belongs to another project.
        Conflict: the group has the same rule already.
    """
    quota.check(tx, context, "security_group_rule", body["project_id"])
    row = {**body, "id": str(uuid.uuid4())}
    prepare(row)
    if row["remote_group_id"] is not None:
        lookup.visible(tx, context, "security_group", row["remote_group_id"])
    if row["remote_address_group_id"] is not None:
        lookup.visible(tx, context, "address_group", row["remote_address_group_id"])
    group = lookup.visible(tx, context, "security_group", row["security_group_id"])
    row["belongs_to_default_sg"] = group["name"] == DEFAULT_NAME
    _refuse_duplicate(tx, row)
    context.broker.admit("security_group_rule", None, row)
    created = tx.insert("security_group_rule", row)
    _touch(tx, group)
    return created


def prepare(row: Row) -> None:
    """Give a rule's attributes the one form that they are compared in, and refuse what contradicts itself.

    Raises:
        BadRequest: its attributes contradict each other.
    """
    _normalise(row)
    _check_ports(row)
    _check_families(row)


def check_bulk(bodies: Sequence[Row]) -> None:
    """Refuse a bulk request for more than one group or project (Neutron's ML2 does).

    Raises:
        BadRequest: names the groups or projects.
    """
    for attribute, type_name in (
        ("security_group_id", "SecurityGroupNotSingleGroupRules"),
        ("project_id", "SecurityGroupRulesNotSingleProject"),
    ):
        values = sorted({str(body[attribute]) for body in bodies})
        if len(values) > 1:
            raise BadRequest(
                f"Security group rules of one bulk request must agree in {attribute}, these name {', '.join(values)}.",
                type=type_name,
            )


def insert_initial(tx: Transaction, group: Row, default: Row) -> None:
    """Insert one of the rules that a new group has, made from a default rule."""
    remote = group["id"] if default["remote_group_id"] == PARENT else default["remote_group_id"]
    row = {
        **{name: default[name] for name in _COPIED},
        "id": str(uuid.uuid4()),
        "project_id": group["project_id"],
        "security_group_id": group["id"],
        "remote_group_id": remote,
        "belongs_to_default_sg": group["name"] == DEFAULT_NAME,
        "description": "",
    }
    _normalise(row)
    tx.insert("security_group_rule", row)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Take a rule out of its group."""
    tx.delete("security_group_rule", row)
    _touch(tx, lookup.get(tx, "security_group", row["security_group_id"]))


def of_groups(tx: Transaction, group_ids: Sequence[str]) -> list[Row]:
    """Return the rules of all these groups, in the order of their ids."""
    table = tx.tables.of["security_group_rule"]
    rows: list[Row] = []
    for part in select.parts(group_ids):
        statement = sa.select(table).where(table.c.security_group_id.in_(part)).order_by(table.c.id)
        rows.extend(dict(row) for row in tx.connection.execute(statement).mappings())
    return rows


def _touch(tx: Transaction, group: Row) -> None:
    """Give the group this transaction's revision, once: its rules are part of what it is."""
    if group["revision_number"] != tx.revision:
        tx.update("security_group", group, {})


def _number(protocol: str) -> int:
    """Return the number of a protocol that is given by name or number."""
    return PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)


def _normalise(row: Row) -> None:
    """Give the one form to what can be said in several: ICMP for IPv6, all ports, a prefix."""
    if row["ethertype"] == "IPv6":
        if row["protocol"] in ("icmp", "icmpv6"):
            row["protocol"] = "ipv6-icmp"
        elif row["protocol"] == str(ICMP):
            row["protocol"] = str(ICMPV6)
    if (row["port_range_min"], row["port_range_max"]) == ALL_PORTS:
        row["port_range_min"] = row["port_range_max"] = None
    if row["remote_ip_prefix"]:
        # remote_ip_prefix itself keeps the bits right of the prefix as they were given, as in Neutron.
        row["normalized_cidr"] = str(ip_network(row["remote_ip_prefix"], strict=False))


def _bad(type_name: str, row: Row, *attributes: str, rule: str) -> BadRequest:
    shown = ", ".join(f"{name} {row[name]!r}" for name in attributes)
    return BadRequest(f"Security group rule with {shown}: {rule}.", type=type_name)


def _check_ports(row: Row) -> None:
    """Check port_range_min and port_range_max, which are ICMP's type and code too."""
    if row["port_range_min"] is None and row["port_range_max"] is None:
        return
    protocol = row["protocol"]
    if protocol is None:
        raise _bad("SecurityGroupProtocolRequiredWithPorts", row, "port_range_min", "port_range_max",
                   rule="protocol must be given with a port range")  # fmt: skip
    number = _number(protocol)
    if number in WITH_PORTS:
        _check_port_range(row)
    elif number in (ICMP, ICMPV6):
        _check_icmp(row)
    else:
        names = ", ".join(sorted(name.upper() for name, value in PROTOCOLS.items() if value in WITH_PORTS))
        raise _bad("SecurityGroupInvalidProtocolForPort", row, "protocol", "port_range_min", "port_range_max",
                   rule=f"only {names} have ports")  # fmt: skip


def _check_port_range(row: Row) -> None:
    low, high = row["port_range_min"], row["port_range_max"]
    if 0 in (low, high):
        raise _bad("SecurityGroupInvalidPortValue", row, "port_range_min", "port_range_max",
                   rule="ports are numbers from 1 to 65535")  # fmt: skip
    if low is None or high is None or low > high:
        raise _bad("SecurityGroupInvalidPortRange", row, "port_range_min", "port_range_max",
                   rule="both must be given, and port_range_min must be <= port_range_max")  # fmt: skip


def _check_icmp(row: Row) -> None:
    for name, field in (("port_range_min", "type"), ("port_range_max", "code")):
        if row[name] is not None and not 0 <= row[name] <= 255:
            raise _bad("SecurityGroupInvalidIcmpValue", row, name,
                       rule=f"Invalid value for ICMP {field} ({name}) {row[name]}. It must be 0 to 255")  # fmt: skip
    if row["port_range_min"] is None:
        raise _bad("SecurityGroupMissingIcmpType", row, "port_range_max",
                   rule="ICMP code (port-range-max) is provided but ICMP type (port-range-min) is missing")  # fmt: skip


def _check_families(row: Row) -> None:
    """Check that ethertype, protocol and remote go together."""
    prefix, ethertype = row["remote_ip_prefix"], row["ethertype"]
    if prefix and ethertype != f"IPv{ip_network(prefix, strict=False).version}":
        raise _bad("SecurityGroupRuleParameterConflict", row, "ethertype", "remote_ip_prefix",
                   rule=f"Conflicting value ethertype {ethertype} for CIDR {prefix}")  # fmt: skip
    if row["protocol"] is not None and ethertype == "IPv4" and _number(row["protocol"]) in IPV6_ONLY:
        raise _bad("SecurityGroupEthertypeConflictWithProtocol", row, "ethertype", "protocol",
                   rule="the protocol exists in IPv6 only")  # fmt: skip
    given = [name for name in _REMOTES if row[name]]
    if len(given) > 1:
        raise _bad("SecurityGroupMultipleRemoteEntites", row, *given, rule="only one of them may be given")


def meaning(row: Row) -> tuple[Any, ...]:
    """Return what a rule says besides its group, direction and ethertype; equal for rules that say the same."""
    protocol, prefix = row["protocol"], row["remote_ip_prefix"]
    return (
        None if protocol is None else _number(protocol),
        row["port_range_min"],
        row["port_range_max"],
        row["remote_group_id"],
        row["remote_address_group_id"],
        None if prefix in ANYWHERE else prefix,
    )


def _refuse_duplicate(tx: Transaction, row: Row) -> None:
    # What has one form in the table narrows the search there, for groups of a thousand rules.
    alike = (
        *("security_group_id", "direction", "ethertype", "port_range_min", "port_range_max"),
        *("remote_group_id", "remote_address_group_id"),
    )
    same = {name: row[name] for name in alike if row[name] is not None}
    for other in tx.find("security_group_rule", **same):
        if meaning(other) != meaning(row):
            continue
        if other["revision_number"] == tx.revision:
            raise Conflict(
                f"Duplicate Security Group Rule in POST: two rules for group {row['security_group_id']} say the same.",
                type="DuplicateSecurityGroupRuleInPost",
            )
        raise Conflict(
            f"Security group rule already exists. Rule id is {other['id']} (group {row['security_group_id']}).",
            type="SecurityGroupRuleExists",
        )
