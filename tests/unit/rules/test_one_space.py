# SPDX-License-Identifier: Apache-2.0
"""Networks of a backend that share one space of addresses: a second subnet with an address of another is refused."""

from __future__ import annotations

import msgspec
import pytest

from portico.errors import BadRequest
from portico.policy.policy import Policy
from portico.rules.context import Context
from portico.store.store import Store

from .conftest import Create


def test_a_subnet_in_the_same_transaction_counts_and_is_named(store: Store, context: Context, create: Create) -> None:
    with store.write() as tx:
        one, other = (create(tx, context, "network", **{"portico:backend": "routed"}) for _ in range(2))
        first = create(tx, context, "subnet", network_id=one["id"], ip_version=4, cidr="10.0.0.0/24")
        create(tx, context, "subnet", network_id=other["id"], ip_version=4, cidr="10.0.1.0/24")
        create(tx, context, "subnet", network_id=other["id"], ip_version=6, cidr="2001:db8::/64")
        with pytest.raises(BadRequest) as caught:
            create(tx, context, "subnet", network_id=other["id"], ip_version=4, cidr="10.0.0.128/25")
    assert caught.value.message == (
        f"Invalid input for operation: cidr 10.0.0.128/25 overlaps subnet {first['id']} (10.0.0.0/24) of network "
        f"{one['id']}: routed networks share one space of addresses."
    )


def test_a_subnet_of_another_project_is_in_the_way_and_no_more_is_told_of_it(
    store: Store, context: Context, create: Create
) -> None:
    other = msgspec.structs.replace(
        context, project_id="blue", is_admin=False, roles=("member", "reader"), policy=Policy(store.registry)
    )
    with store.write() as tx:
        one = create(tx, context, "network", **{"portico:backend": "routed"})
        two = create(tx, context, "network", **{"portico:backend": "routed", "project_id": "blue"})
        create(tx, context, "subnet", network_id=one["id"], ip_version=4, cidr="10.0.0.0/24")
        with pytest.raises(BadRequest) as caught:
            create(tx, other, "subnet", network_id=two["id"], ip_version=4, cidr="10.0.0.128/25")
    assert caught.value.message == (
        "Invalid input for operation: cidr 10.0.0.128/25 overlaps a subnet of another project: routed networks share "
        "one space of addresses."
    )


def test_a_network_comes_to_such_a_backend_only_with_addresses_of_its_own(
    store: Store, context: Context, create: Create, update: Create
) -> None:
    with store.write() as tx:
        routed = create(tx, context, "network", **{"portico:backend": "routed"})
        bridged = create(tx, context, "network", **{"portico:backend": "bridge"})
        for row in (routed, bridged):
            create(tx, context, "subnet", network_id=row["id"], ip_version=4, cidr="10.0.0.0/24")
        with pytest.raises(BadRequest, match="one space of addresses"):
            update(tx, context, "network", tx.get("network", bridged["id"]) or {}, **{"portico:backend": "routed"})
