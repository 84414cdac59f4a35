# SPDX-License-Identifier: Apache-2.0
"""Backends as people see them: what each realises, where, and how it fares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from portico.api.collection import Service
from portico.api.message import as_json
from portico.api.route import route
from portico.broker.broker import Broker
from portico.broker.lane import Health, Lane
from portico.errors import NotFound, PorticoError
from portico.model.snapshot import DHCP_OWNER
from portico.rules import agent
from portico.rules.context import Row
from portico.store.transaction import timestamp
from portico.telemetry.metrics import Reading

if TYPE_CHECKING:
    from portico.api.app import Api


def routes(api: Api) -> list[Route]:
    """Return the paths."""

    async def several(request: Request) -> Response:
        api.require(request, "portico:backends")
        return as_json(await api.workers.read(list_backends, api.service, api.broker))

    async def one(request: Request) -> Response:
        api.require(request, "portico:backends")
        return as_json(await api.workers.read(show_backend, api.service, api.broker, request.path_params["name"]))

    return [
        route("/portico/v1/backends", {"GET": several}),
        route("/portico/v1/backends/{name}", {"GET": one}),
    ]


def list_backends(service: Service, broker: Broker) -> Row:
    """Return every backend, the default one first."""
    return {"backends": _rows(service, list(broker.lanes.values()))}


def show_backend(service: Service, broker: Broker, name: str) -> Row:
    """Return one backend.

    Raises:
        NotFound: there is none of this name.
    """
    if name not in broker.lanes:
        raise NotFound(
            f"Backend {name} could not be found; known are: {', '.join(broker.lanes)}.", type="BackendNotFound"
        )
    return {"backend": _rows(service, [broker.lanes[name]])[0]}


def readings(service: Service, broker: Broker) -> Iterator[Reading]:
    """Yield what metrics tell of backends: how each fares, and on which hosts its ports can be; from any thread."""
    text = "1 while the backend is in step with what is wanted"
    for lane in broker.lanes.values():
        yield Reading("portico_backend_up", text, _state(lane.health()) == "ok", {"backend": lane.name})
    try:
        rows = _rows(service, list(broker.lanes.values()))
    except PorticoError:
        return
    text = "1 if the host can have the backend's ports"
    for row in rows:
        for host in row["hosts"]:
            labels = {"backend": row["name"], "host": host["host"]}
            yield Reading("portico_backend_host_able", text, host["able"], labels)


def _rows(service: Service, lanes: Sequence[Lane]) -> list[Row]:
    with service.store.read() as tx:
        agents = sorted(tx.find("agent"), key=lambda row: str(row["host"]))
    return [_row(lane, agents) for lane in lanes]


def _row(lane: Lane, agents: Sequence[Row]) -> Row:
    able, health, want = lane.backend.describe(), lane.health(), lane.want
    servers = sum(port.device_owner == DHCP_OWNER for port in list(want.ports.values()))
    lacks = [(str(row["host"]), agent.lacks(row, able.host_needs)) for row in agents if agent.tells(row)]
    return {
        "name": able.name,
        "network_types": list(able.network_types),
        "features": sorted(able.features),
        "overhead": able.overhead,
        "max_mtu": able.max_mtu,
        "status": _state(health),
        "reason": health.failing,
        "since": timestamp(health.since),
        "synced_at": None if health.synced_at is None else timestamp(health.synced_at),
        "hosts": [{"host": host, "able": not reason, "reason": reason} for host, reason in lacks],
        "networks": len(want.networks),
        "ports": len(want.ports) - servers,
    }


def _state(health: Health) -> str:
    return "failing" if health.failing else "ok" if health.synced_at is not None else "starting"
