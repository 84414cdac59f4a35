# SPDX-License-Identifier: Apache-2.0
"""What is shown of backends, and what hosts that cannot realise one have to do with networks and ports."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.backends.bridge import CAPABILITIES, BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.contract import Capabilities, Dirty, ObjectStatus
from portico.model.snapshot import Snapshot
from portico.policy.policy import Policy
from portico.rules.context import Context, Limits
from portico.settings_broker import BrokerSettings
from portico.store.store import Store

from .asker import Asker, Row, wait_until

LIMITS = Limits({}, 1500, "fa:16:3e", "portico.test.", "red")
WHY = "the kernel module br_netfilter is not loaded (modprobe br_netfilter)"


class Frail(BridgeBackend):
    """A backend whose sync may fail."""

    broken = False

    def sync(self, want: Snapshot, dirty: Dirty) -> Iterable[ObjectStatus]:
        if self.broken:
            raise ConnectionError("no answer from the engine")
        return super().sync(want, dirty)


class Other(BridgeBackend):
    """Another backend, which needs nothing of hosts."""

    def describe(self) -> Capabilities:
        return msgspec.structs.replace(CAPABILITIES, name="other", network_types=("other",), host_needs=())


@pytest.fixture
def frail() -> Frail:
    return Frail(HostStates())


@pytest.fixture
def api(store: Store, frail: Frail) -> Iterator[Asker]:
    with Asker(make_app(serving(store, frail))) as asker:
        yield asker


def serving(store: Store, *backends: BridgeBackend, settings: BrokerSettings | None = None) -> Api:
    hosts = HostStates()
    return Api(Service(store, 1000), Broker(store, hosts, backends, settings), hosts, LIMITS)


def tell(api: Asker, host: str, **facts: str) -> None:
    path = f"/portico/v1/hosts/{host}/status"
    assert api.ask("PUT", path, {"revision": 0, "facts": {"version": "1", **facts}}).status == 204


def shown(api: Asker) -> Row:
    return dict(api.ask("GET", "/portico/v1/backends/bridge").body["backend"])


def until(api: Asker, status: str) -> Row:
    deadline = time.monotonic() + 10
    while (found := shown(api))["status"] != status:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_a_backend_shows_what_it_realises_where_and_how_much(api: Asker) -> None:
    network = api.create("networks")
    api.create("ports", network_id=network["id"])
    tell(api, "able", able="bridge")
    tell(api, "unable", able="", lacks_bridge=WHY)
    tell(api, "old")
    found = until(api, "ok")
    deadline = time.monotonic() + 10
    while (found["networks"], found["ports"]) != (1, 1) and time.monotonic() < deadline:
        found = shown(api)
    assert (found["networks"], found["ports"], found["reason"]) == (1, 1, "")
    assert found["network_types"] == ["local", "host", "flat", "vlan"]
    assert found["features"] == sorted(CAPABILITIES.features)
    assert found["hosts"] == [
        {"host": "able", "able": True, "reason": ""},
        {"host": "unable", "able": False, "reason": WHY},
    ]
    assert api.ask("GET", "/portico/v1/backends").body == {"backends": [shown(api)]}
    missing = api.ask("GET", "/portico/v1/backends/pigeon")
    assert missing.error == (404, "BackendNotFound") and "known are: bridge" in missing.message


def measures(server: Api) -> dict[str, float]:
    """Return what metrics tell of backends' health, by name and values of labels."""
    return {
        " ".join([item.name, *item.labels.values()]): item.value
        for family in text_string_to_metric_families(server.metrics.text().decode())
        for item in family.samples
        if item.name in ("portico_backend_up", "portico_backend_host_able")
    }


def test_metrics_tell_how_each_backend_fares_and_which_hosts_can_have_it(store: Store, frail: Frail) -> None:
    server = serving(store, frail, Other(HostStates()))
    assert measures(server) == {"portico_backend_up bridge": 0, "portico_backend_up other": 0}
    with Asker(make_app(server)) as api:
        until(api, "ok")
        tell(api, "able", able="bridge")
        tell(api, "unable", able="", lacks_bridge=WHY)
        tell(api, "old")
        frail.broken = True
        api.create("networks")
        until(api, "failing")
        wait_until(lambda: measures(server)["portico_backend_up other"] == 1)
        assert measures(server) == {
            "portico_backend_up bridge": 0,
            "portico_backend_up other": 1,
            "portico_backend_host_able bridge able": 1,
            "portico_backend_host_able bridge unable": 0,
            "portico_backend_host_able other able": 1,
            "portico_backend_host_able other unable": 1,
        }
        frail.broken = False
        until(api, "ok")
        assert measures(server)["portico_backend_up bridge"] == 1


def test_a_failing_backend_says_since_when_and_why(api: Asker, frail: Frail) -> None:
    before = until(api, "ok")
    frail.broken = True
    api.create("networks")
    failing = until(api, "failing")
    assert failing["reason"] == "no answer from the engine"
    assert failing["since"] >= before["synced_at"] == failing["synced_at"]


def test_a_port_on_a_host_that_cannot_have_it_fails_to_bind_and_says_why(api: Asker) -> None:
    tell(api, "able", able="bridge")
    tell(api, "unable", able="", lacks_bridge=WHY)
    tell(api, "odd", able="routed")
    network = api.create("networks")
    good, bad, odd = (
        api.create("ports", network_id=network["id"], **{"binding:host_id": host}) for host in ("able", "unable", "odd")
    )
    assert [row["binding:vif_type"] for row in (good, bad, odd)] == ["tap", "binding_failed", "binding_failed"]
    reasons = [api.ask("GET", f"/portico/v1/ports/{row['id']}/status").body["reason"] for row in (bad, odd)]
    assert reasons == [
        f"binding failed: host unable: {WHY}",
        "binding failed: host odd: its agent, version 1, has no 'bridge'",
    ]
    tell(api, "unable", able="bridge")
    again = api.update("ports", bad, **{"binding:host_id": "unable"})
    assert again["binding:vif_type"] == "tap"


def test_a_network_that_no_known_host_can_have_is_refused_with_the_reasons(api: Asker) -> None:
    api.create("networks")
    tell(api, "unable", able="", lacks_bridge=WHY)
    answer = api.try_create("networks")
    assert answer.error == (409, "BackendNotAvailable")
    assert f"portico:backend 'bridge' can be had on no host: host unable: {WHY}" in answer.message
    tell(api, "able", able="bridge")
    api.create("networks")


def test_a_project_gets_the_first_of_its_backends_that_a_host_can_have(store: Store, frail: Frail) -> None:
    settings = BrokerSettings(projects={"blue": "bridge other", "red": "bridge"})
    with Asker(make_app(serving(store, frail, Other(HostStates()), settings=settings))) as api:
        assert api.create("networks", project_id="blue")["portico:backend"] == "bridge"
        tell(api, "unable", able="", lacks_bridge=WHY)
        made = api.create("networks", project_id="blue")
        assert (made["portico:backend"], made["provider:network_type"]) == ("other", "other")
        for named in ({"project_id": "red"}, {"project_id": "blue", "portico:backend": "bridge"}):
            assert api.try_create("networks", **named).error == (409, "BackendNotAvailable")
        assert api.try_create("networks", project_id="blue", **{"provider:network_type": "local"}).error[0] == 409


def test_hosts_and_their_troubles_are_the_operators_to_see(store: Store) -> None:
    hosts, policy = HostStates(), Policy(store.registry)
    broker = Broker(store, hosts, [BridgeBackend(hosts)])
    member = Context("red", False, LIMITS, broker, ("member", "reader"), policy=policy)
    assert not policy.allows(member, "portico:backends")
    assert policy.allows(msgspec.structs.replace(member, is_admin=True), "portico:backends")
