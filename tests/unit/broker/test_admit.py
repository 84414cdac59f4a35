# SPDX-License-Identifier: Apache-2.0
"""A backend that can do less than others takes nothing from them, and is given nothing that it cannot do."""

from __future__ import annotations

import pytest

from portico.admission import refuse_undeclared
from portico.backends.bridge import BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.contract import FEATURES, Capabilities, Change
from portico.errors import Unsupported
from portico.model.snapshot import Snapshot
from portico.store.store import Store

from .conftest import Desk, Row
from .test_lanes import HOST, Odd

LACKS = {"stateless-groups", "remote-address-groups"}


class Plain(Odd):
    """A backend without some features of groups."""

    def describe(self) -> Capabilities:
        return Capabilities("odd", ("odd",), FEATURES - LACKS)

    def admit(self, _want: Snapshot, change: Change) -> None:
        refuse_undeclared(self.describe(), change)


@pytest.fixture
def desk(store: Store) -> Desk:
    desk = Desk(store)
    desk.hosts = HostStates()
    desk.broker = Broker(store, desk.hosts, [BridgeBackend(desk.hosts), Plain(desk.hosts)])
    desk.context = desk.context.__class__(
        project_id="acme", is_admin=True, limits=desk.context.limits, broker=desk.broker
    )
    return desk


def port_on(desk: Desk, backend: str, group: Row) -> Row:
    network = desk.create("network", **{"portico:backend": backend})
    body = {"network_id": network["id"], "security_groups": [group["id"]], "binding:host_id": HOST}
    return desk.create("port", **body)


def test_a_port_is_refused_by_its_own_backend_for_what_its_groups_ask(desk: Desk) -> None:
    group = desk.create("security_group", name="fast", stateful=False)
    desk.broker.step(everything=True)
    port_on(desk, "bridge", group)
    with pytest.raises(Unsupported, match=f"security_group {group['id']}: stateful False .* the odd backend"):
        port_on(desk, "odd", group)


def test_a_group_is_refused_what_a_backend_lacks_only_while_that_has_it_in_use(desk: Desk) -> None:
    used, free = (desk.create("security_group", name=name) for name in ("used", "free"))
    addresses = desk.create("address_group", name="a", addresses=["192.0.2.0/28"])
    desk.broker.step(everything=True)
    port_on(desk, "odd", used)
    while desk.broker.step(everything=False):
        pass
    rule = {"direction": "ingress", "ethertype": "IPv4", "remote_address_group_id": addresses["id"]}
    desk.create("security_group_rule", security_group_id=free["id"], **rule)
    with pytest.raises(Unsupported, match="remote-address-groups"):
        desk.create("security_group_rule", security_group_id=used["id"], **rule)


def test_what_no_backend_can_do_is_refused_at_once(store: Store) -> None:
    alone = Desk(store)
    alone.context = alone.context.__class__(
        project_id="acme",
        is_admin=True,
        limits=alone.context.limits,
        broker=Broker(store, alone.hosts, [Plain(alone.hosts)]),
    )
    with pytest.raises(Unsupported, match="the odd backend"):
        alone.create("security_group", name="fast", stateful=False)
