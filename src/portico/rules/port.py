# SPDX-License-Identifier: Apache-2.0
"""Ports."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from portico.errors import BadRequest, Conflict
from portico.model import dhcp_option
from portico.model.address import host_name
from portico.model.show import show
from portico.model.snapshot import BINDING_FAILED, UNBOUND
from portico.rules import (
    address_pair,
    binding,
    fixed_ip,
    floating_use,
    log,
    lookup,
    mac,
    qos_minimum,
    qos_policy,
    quota,
    router_port,
    security_group,
    trunk_port,
)
from portico.rules.context import Context, Row
from portico.store import allocate
from portico.store.transaction import Read, Transaction

# How often a random MAC address may turn out to be taken before the port is refused.
MAC_TRIES = 16


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a port: address, MAC address, security groups and, when it names a host, its binding."""
    mac_address = body.get("mac_address") or mac.generate(context.limits.mac_base)
    tx.foresee(_reads(tx, body, mac_address))
    parent = lookup.get(tx, "network", body["network_id"])
    quota.check(tx, context, "port", body["project_id"])
    router_port.refuse_create(tx, context, body)
    row = {
        **body,
        "id": str(uuid.uuid4()),
        "status": "DOWN",
        "device_owner": body.get("device_owner") or "",
        "device_id": body.get("device_id") or "",
        "binding:host_id": body.get("binding:host_id") or "",
        "binding:profile": body.get("binding:profile") or {},
        "binding:vnic_type": body.get("binding:vnic_type") or "normal",
        "binding:vif_type": UNBOUND,
        "binding:vif_details": {},
        "dns_domain": body.get("dns_domain") or "",
        "dns_name": _dns_name(body.get("dns_name") or "", _domain(body, parent, context)),
        "extra_dhcp_opts": _options(body.get("extra_dhcp_opts") or []),
        "tags": body.get("tags") or [],
    }
    row["mac_address"] = _mac(tx, context, row, body.get("mac_address"), mac_address)
    _set_security(tx, context, row, body, parent)
    subnets = fixed_ip.subnets_of(tx, parent)
    _check_subnets(tx, context, subnets, body.get("fixed_ips") or [])
    home = fixed_ip.home_of(context, parent, row)
    chosen = fixed_ip.choose(tx, row, subnets, body.get("fixed_ips"), home)
    row["fixed_ips"] = fixed_ip.record(tx, row["id"], chosen)
    row["ip_allocation"] = fixed_ip.allocation(row["fixed_ips"])
    binding.check_profile(row["binding:profile"])
    context.broker.admit("port", None, row, parent)
    qos_policy.check_port(tx, context, None, row, parent)
    if row["binding:host_id"]:
        row |= binding.bind(tx, context, None, row)
        qos_minimum.check_port(tx, context, None, row, parent)
    security_group.link(tx, row["id"], (), row["security_groups"])
    row = tx.insert("port", row)
    binding.settle_dhcp(tx, context, None, row)
    return row


def _dns_name(name: str, domain: str) -> str:
    """Return the name of a port in its domain; one with a dot at its end is whole and loses the domain.

    Raises:
        BadRequest: it is of another domain, or has one of Neutron's keywords, which are there for domains.
    """
    rule = ""
    if "<" in name:
        rule = "must consist of letters, digits and hyphens: keywords are for domains"
    elif name.endswith("."):
        end = f".{domain}."
        name, whole = name.removesuffix(end), name
        if name == whole:
            rule = f"has a dot at its end and so must end in '{end}', the domain of the port or of its network"
    if rule:
        raise BadRequest(f"Invalid input for operation: dns_name '{show(name)}' {rule}.", type="InvalidInput")
    return name


def _domain(port: Row, network: Row, context: Context) -> str:
    return str(port.get("dns_domain") or network["dns_domain"] or context.limits.dns_domain).rstrip(".")


def _reads(tx: Transaction, body: Row, mac_address: str) -> Iterator[Read]:
    """Yield what the create of a port asks the database."""
    network_id = body["network_id"]
    yield from tx.getting("network", network_id)
    yield quota.limit_of(tx, "port", body["project_id"])
    yield mac.first_from(tx, network_id, mac_address)
    yield tx.finding("subnet", network_id=network_id)
    if body.get("security_groups") is None:
        yield security_group.default_of(tx, body["project_id"])
    if body.get("fixed_ips") is None:
        yield allocate.next_ranges(tx, network_id)


def _mac(tx: Transaction, context: Context, row: Row, given: str | None, address: str = "") -> str:
    """Return the MAC address of a port: the `given` one or else a free one, `address` if that is free."""
    if given:
        mac.refuse_group(given)
        if mac.is_taken(tx, row["network_id"], given):
            raise _mac_in_use({**row, "mac_address": given})
        return given
    for _ in range(MAC_TRIES):
        address = address or mac.generate(context.limits.mac_base)
        if not mac.is_taken(tx, row["network_id"], address):
            return address
        address = ""
    raise Conflict(
        f"Unable to generate unique mac on network {row['network_id']}: {MAC_TRIES} tries under "
        f"{context.limits.mac_base} were all taken.",
        type="MacAddressGenerationFailure",
    )


def _mac_in_use(row: Row) -> Conflict:
    return Conflict(
        f"Unable to complete operation for network {row['network_id']}. The mac address "
        f"{row['mac_address']} is in use.",
        type="MacAddressInUse",
    )


def _options(options: Sequence[Row]) -> list[Row]:
    """Return extra_dhcp_opts as they are kept; an option whose value is None is one to leave out.

    Raises:
        BadRequest: a DHCP server knows no such option, or its value is not of the option's type.
    """
    kept: dict[tuple[str, int], Row] = {}
    for option in options:
        version = int(option.get("ip_version") or 4)
        key = (option["opt_name"], version)
        kept.pop(key, None)
        if option.get("opt_value") is not None:
            kept[key] = {"opt_name": option["opt_name"], "opt_value": option["opt_value"], "ip_version": version}
    for option in kept.values():
        _check_option("opt_name", option["opt_name"], dhcp_option.name_fault(option["opt_name"], option["ip_version"]))
        name, value = option["opt_name"], option["opt_value"]
        _check_option("opt_value", value, dhcp_option.value_fault(name, option["ip_version"], value))
    return list(kept.values())


def _check_option(key: str, value: str, rule: str) -> None:
    if rule:
        raise BadRequest(
            f"Invalid input for operation: extra_dhcp_opts {key} {show(value)!r} {rule}.", type="InvalidInput"
        )


def _set_security(tx: Transaction, context: Context, row: Row, given: Row, parent: Row) -> None:
    """Fill port security, security groups and address pairs of a new port."""
    trusted = row["device_owner"].startswith("network:")
    enabled = given.get("port_security_enabled")
    if enabled is None:
        enabled = not trusted and parent["port_security_enabled"]
    row["port_security_enabled"] = enabled
    if given.get("security_groups") is not None:
        row["security_groups"] = _groups(tx, context, given["security_groups"])
    elif enabled and not trusted:
        row["security_groups"] = [security_group.ensure_default(tx, context, row["project_id"])]
    else:
        row["security_groups"] = []
    row["allowed_address_pairs"] = address_pair.complete(row, given.get("allowed_address_pairs") or [])
    _check_security(row, given)


def _groups(tx: Transaction, context: Context, ids: Sequence[str], kept: Sequence[str] = ()) -> list[str]:
    """Return the ids of groups once each; who asks must see those that the port has not got (`kept`) already."""
    unique = list(dict.fromkeys(ids))
    for group_id in sorted(set(unique) - set(kept)):
        lookup.visible(tx, context, "security_group", group_id)
    if len(unique) > 1 and len({row["stateful"] for row in tx.get_many("security_group", unique)}) > 1:
        raise Conflict(
            "Error Cannot apply both stateful and stateless security groups on the same port at the same time while "
            f"attempting the operation: security_groups {', '.join(unique)}.",
            type="SecurityGroupConflict",
        )
    return unique


def _check_subnets(tx: Transaction, context: Context, subnets: Sequence[Row], wanted: Sequence[Row]) -> None:
    """Refuse subnets of other networks that who asks may not see, as if they were not there."""
    known = {subnet["id"] for subnet in subnets}
    for item in wanted:
        if item.get("subnet_id") and item["subnet_id"] not in known:
            lookup.visible(tx, context, "subnet", item["subnet_id"])


def _check_security(row: Row, given: Row) -> None:
    """Refuse groups and pairs without port security; `given` is what the request says."""
    if row["port_security_enabled"]:
        return
    if given.get("security_groups"):
        raise BadRequest(
            f"Port {row['id']}: port_security_enabled must be true in order to use security_groups.",
            type="PortSecurityAndIPRequiredForSecurityGroups",
        )
    if row["security_groups"]:
        raise Conflict(
            f"Port {row['id']} has security group associated. Cannot disable port security until security group is "
            "removed.",
            type="PortSecurityPortHasSecurityGroup",
        )
    if row["allowed_address_pairs"]:
        raise Conflict(
            f"Port {row['id']}: port_security_enabled must be true in order to have allowed_address_pairs.",
            type="AddressPairAndPortSecurityRequired",
        )


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a port as a request for it asks."""
    router_port.refuse_update(tx, context, row, changes)
    floating_use.refuse_update(tx, row, changes)
    changed = change(tx, context, row, changes)
    router_port.check_addresses(tx, changed)
    floating_use.follow_addresses(tx, row, changed)
    return changed


def change(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a port, whosever it is; what it does not name stays."""
    after = {**row, **changes}
    for name in ("binding:host_id", "device_id", "device_owner", "dns_name", "dns_domain"):
        after[name] = after[name] or ""
    after["binding:profile"] = after["binding:profile"] or {}
    if changes.get("dns_name"):
        domain = _domain(after, lookup.get(tx, "network", row["network_id"]), context)
        after["dns_name"] = _dns_name(changes["dns_name"], domain)
    _update_mac(tx, context, row, changes, after)
    _update_addresses(tx, context, row, changes, after)
    if "extra_dhcp_opts" in changes:
        after["extra_dhcp_opts"] = _options([*row["extra_dhcp_opts"], *(changes["extra_dhcp_opts"] or [])])
    if "security_groups" in changes:
        after["security_groups"] = _groups(tx, context, changes["security_groups"] or [], row["security_groups"])
    if "allowed_address_pairs" in changes:
        after["allowed_address_pairs"] = address_pair.complete(after, changes["allowed_address_pairs"] or [])
    _check_security(after, changes)
    binding.check_profile(after["binding:profile"])
    network = lookup.get(tx, "network", row["network_id"])
    context.broker.admit("port", row, after, network)
    qos_policy.check_port(tx, context, row, after, network)
    if binding.must_bind(row, after, changes):
        after |= binding.bind(tx, context, row, after)
    qos_minimum.check_port(tx, context, row, after, network)
    if row["inactive_bindings"]:
        after["inactive_bindings"] = binding.others(after)
    security_group.link(tx, row["id"], row["security_groups"], after["security_groups"])
    different = {name: value for name, value in after.items() if name not in row or row[name] != value}
    updated = tx.update("port", row, different)
    binding.settle_dhcp(tx, context, row, updated)
    trunk_port.follow(tx, context, row, updated, change)
    return updated


def _update_mac(tx: Transaction, context: Context, row: Row, changes: Row, after: Row) -> None:
    if "mac_address" not in changes or changes["mac_address"] == row["mac_address"]:
        return
    if row["binding:vif_type"] not in (UNBOUND, BINDING_FAILED):
        raise Conflict(
            f"Unable to complete operation on port {row['id']}, port is already bound, port type: "
            f"{row['binding:vif_type']}, old_mac {row['mac_address']}, new_mac {changes['mac_address']}.",
            type="PortBound",
        )
    if row["device_owner"].startswith("network:"):
        raise Conflict(
            f"Operation mac_address update is not supported for device_owner {row['device_owner']} on port "
            f"{row['id']}.",
            type="UnsupportedPortDeviceOwner",
        )
    after["mac_address"] = _mac(tx, context, row, changes["mac_address"])
    after["allowed_address_pairs"] = [
        {**pair, "mac_address": after["mac_address"]} if pair["mac_address"] == row["mac_address"] else pair
        for pair in row["allowed_address_pairs"]
    ]


def _update_addresses(tx: Transaction, context: Context, row: Row, changes: Row, after: Row) -> None:
    moved = after["mac_address"] != row["mac_address"]
    if "fixed_ips" not in changes and not moved:
        return
    network = lookup.get(tx, "network", row["network_id"])
    subnets, home = fixed_ip.subnets_of(tx, network), fixed_ip.home_of(context, network, after)
    automatic = {item["id"] for item in subnets if fixed_ip.is_automatic(item)}
    wanted: Sequence[Row] = (changes if "fixed_ips" in changes else row)["fixed_ips"] or []
    _check_subnets(tx, context, subnets, wanted)
    none = not wanted
    if moved:
        # Addresses made of the old MAC address are made anew, also when the request repeats them.
        old = [item["ip_address"] for item in row["fixed_ips"] if item["subnet_id"] in automatic]
        wanted = [item for item in wanted if item.get("ip_address") not in old]
    kept, fresh = _split(wanted, row, automatic if moved else set())
    if not (none or moved):
        kept += [item for item in row["fixed_ips"] if item["subnet_id"] in automatic and item not in kept]
    fixed_ip.release(tx, row, [item for item in row["fixed_ips"] if item not in kept])
    chosen = fixed_ip.choose_wanted(tx, after, fixed_ip.candidates(after, subnets), fresh, home) if fresh else []
    if not none:
        present = {item["subnet_id"] for item in kept} | {subnet["id"] for subnet, _ in chosen}
        had = {item["subnet_id"] for item in row["fixed_ips"]}
        serving = [subnet for subnet in subnets if subnet["id"] in had or fixed_ip.serves(subnet, after)]
        chosen += fixed_ip.choose_automatic(tx, after, serving, present)
    after["fixed_ips"] = kept + fixed_ip.record(tx, row["id"], chosen)
    after["ip_allocation"] = fixed_ip.allocation(after["fixed_ips"])


def _split(wanted: Sequence[Row], row: Row, moved_subnets: set[str]) -> tuple[list[Row], list[Row]]:
    """Return which of the wanted addresses the port has already, and which are to be chosen.

    Addresses that are named come first: an item that only names their subnet is content with another one.
    """
    kept: list[Row] = []
    fresh: list[Row] = []
    for item in sorted(wanted, key=lambda item: item.get("ip_address") is None):
        match = next(
            (
                have
                for have in row["fixed_ips"]
                if have not in kept
                and have["subnet_id"] not in moved_subnets
                and item.get("subnet_id") in (None, have["subnet_id"])
                and item.get("ip_address") in (None, have["ip_address"])
                and (item.get("subnet_id") or item.get("ip_address"))
            ),
            None,
        )
        if match is not None:
            kept.append(match)
        else:
            fresh.append(item)
    return kept, fresh


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a port and give back what it held; a DHCP server that is still needed gets another one."""
    router_port.refuse_delete(tx, row)
    trunk_port.refuse_delete(tx, row)
    floating_use.leave(tx, context, row)
    remove(tx, row)
    binding.settle_dhcp(tx, context, row, None)


def remove(tx: Transaction, row: Row) -> None:
    """Drop a port's row, addresses and group links."""
    fixed_ip.release(tx, row, row["fixed_ips"])
    security_group.link(tx, row["id"], row["security_groups"], ())
    log.forget_port(tx, row["id"])
    tx.delete("port", row)


def present(tx: Transaction, context: Context, rows: list[Row]) -> list[Row]:
    """Add dns_assignment, which the network's DNS server says, the network's QoS policy, and resource_request."""
    networks = {row["id"]: row for row in tx.get_many("network", sorted({row["network_id"] for row in rows}))}
    for row in rows:
        network = networks[row["network_id"]]
        domain = _domain(row, network, context)
        row["qos_network_policy_id"] = network["qos_policy_id"]
        row["dns_assignment"] = [
            {"ip_address": ip, "hostname": host, "fqdn": f"{host}.{domain}."}
            for item in row["fixed_ips"]
            for ip in (item["ip_address"],)
            for host in (row["dns_name"] or host_name(ip),)
        ]
    qos_minimum.present(tx, rows, networks)
    trunk_port.present(tx, rows)
    return rows
