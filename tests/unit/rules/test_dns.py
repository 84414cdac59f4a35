# SPDX-License-Identifier: Apache-2.0
"""What the API says of a port's names is what the network's DNS server answers."""

from __future__ import annotations

import pytest

from portico.agent import dnsmasq
from portico.backends.bridge import plan
from portico.errors import BadRequest
from portico.hoststate import Dhcp, Lease
from portico.model.snapshot import RESOURCES, Snapshot
from portico.rules import TABLE
from portico.rules.context import Context, Row
from portico.store.query import Query
from portico.store.store import Store
from portico.store.transaction import Transaction
from portico.testing.statements import asked

from .conftest import Create


def network(tx: Transaction, context: Context, create: Create, **body: str) -> Row:
    made = create(tx, context, "network", **body)
    for version, cidr in ((4, "192.0.2.0/24"), (6, "2001:db8::/64")):
        create(tx, context, "subnet", network_id=made["id"], ip_version=version, cidr=cidr)
    return made


def shown(tx: Transaction, context: Context) -> list[Row]:
    present = TABLE["port"].present
    assert present is not None
    return present(tx, context, [row for row in tx.find("port") if row["device_owner"] != "network:dhcp"])


def served(tx: Transaction, context: Context) -> set[tuple[str, str]]:
    """Return the addresses and names in the files of the host's DNS servers."""
    want = Snapshot()
    for resource in RESOURCES:
        for row in tx.list(resource, Query()):
            want.put(resource, row)
    objects = plan.host_objects(want, "h1", context.limits.dns_domain.rstrip("."))
    found: set[tuple[str, str]] = set()
    for server in [item for item in objects if isinstance(item, Dhcp)]:
        leases = [item for item in objects if isinstance(item, Lease) and item.network_id == server.network_id]
        lines = dnsmasq.names(server, leases).splitlines()
        found |= {(address, f"{full}.") for address, full, _ in (line.split() for line in lines)}
    return found


@pytest.mark.parametrize(
    ("body", "domain"), [({"dns_domain": "blue.example."}, "blue.example."), ({}, "portico.test.")]
)
def test_the_api_and_the_dns_server_agree_on_names(
    store: Store, context: Context, create: Create, body: dict[str, str], domain: str
) -> None:
    with store.write() as tx:
        parent = network(tx, context, create, **body)
        for dns_name in ("web", ""):
            create(tx, context, "port", network_id=parent["id"], dns_name=dns_name, **{"binding:host_id": "h1"})
        names = [(item["ip_address"], item["fqdn"]) for row in shown(tx, context) for item in row["dns_assignment"]]
        assert len(names) == 4 and all(full.endswith(f".{domain}") for _, full in names)
        assert set(names) == served(tx, context)


@pytest.mark.parametrize(
    ("body", "domain"), [({"dns_domain": "blue.example."}, "blue.example."), ({}, "portico.test.")]
)
def test_a_whole_name_is_taken_in_the_domain_of_the_network_and_in_no_other(
    store: Store, context: Context, create: Create, update: Create, body: dict[str, str], domain: str
) -> None:
    with store.write() as tx:
        parent = network(tx, context, create, **body)
        port = create(
            tx, context, "port", network_id=parent["id"], dns_name=f"Web.{domain}", **{"binding:host_id": "h1"}
        )
        assert port["dns_name"] == "web"
        assert update(tx, context, "port", port, dns_name=f"a.b.{domain}")["dns_name"] == "a.b"
        assert update(tx, context, "port", port, dns_name=f"mail.{domain}")["dns_name"] == "mail"
        assert {(ip, f"mail.{domain}") for ip in ("192.0.2.2", "2001:db8::2")} <= served(tx, context)
        for wrong in ("web.other.example.", domain, "<project_id>", f"<user_name>.{domain}", "web."):
            with pytest.raises(BadRequest, match="dns_name") as caught:
                create(tx, context, "port", network_id=parent["id"], dns_name=wrong)
            assert caught.value.type == "InvalidInput"
            with pytest.raises(BadRequest, match="dns_name"):
                update(tx, context, "port", port, dns_name=wrong)


def test_the_names_of_a_list_of_ports_cost_one_statement(store: Store, context: Context, create: Create) -> None:
    with store.write() as tx:
        for number in range(3):
            parent = network(tx, context, create, dns_domain=f"n{number}.example.")
            for _ in range(3):
                create(tx, context, "port", network_id=parent["id"])
    with asked(store) as statements, store.read() as tx:
        rows = tx.find("port")
        present = TABLE["port"].present
        assert present is not None
        statements.clear()
        present(tx, context, rows)
        assert len(statements) == 1
        assert len({row["dns_assignment"][0]["fqdn"].split(".")[1] for row in rows}) == 3
