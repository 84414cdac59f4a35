# SPDX-License-Identifier: Apache-2.0
"""The calls of libnetwork's remote network and IPAM drivers, and what answers each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from portico.docker import wire
from portico.docker.api import Api, Pulse, in_time
from portico.docker.endpoint import Endpoints, Surroundings
from portico.docker.ipam import GLOBAL_SPACE, LOCAL_SPACE, Ipam
from portico.docker.network import Networks
from portico.docker.outside import Outside
from portico.docker.pool import PendingPools
from portico.docker.publish import Published
from portico.docker.record import Records
from portico.docker.reservation import Reservations
from portico.errors import BadRequest, PorticoError, Unavailable
from portico.settings import Settings

LOG = logging.getLogger(__name__)


class Route(NamedTuple):
    """What a call's body is (None: it has none that matters) and what answers it.

    `missed` is told of a call that the API was away for.
    """

    body: type[wire.Call] | None
    answer: Callable[[Any], wire.Answer]
    needs_api: bool = True
    missed: Callable[[Any], None] = lambda _call: None


class Plugin:
    """Both drivers on one API."""

    def __init__(
        self,
        api: Api,
        settings: Settings,
        records: Records,
        network_made: Callable[[], None],
        surroundings: Surroundings,
    ) -> None:
        self._api = api
        self._pulse = Pulse(api)
        self._pending = PendingPools()
        self._reservations = Reservations(api, settings.host, surroundings.held, surroundings.link_is_here)
        self._network_made = network_made
        ways = surroundings.later, surroundings.routes
        ipam = Ipam(api, settings.docker, self._pending, records, self._reservations, *ways)
        outside = Outside(api, settings.host, settings.docker, surroundings.beside)
        networks = Networks(api, settings.host, self._pending, records, outside)
        endpoints = Endpoints(api, settings.host, records, self._reservations, surroundings)
        published = Published(api, settings.host, records, endpoints.port, surroundings.obstacle)
        self._networks = networks
        self._routes: Mapping[str, Route] = {
            "/Plugin.Activate": Route(None, self._activate, needs_api=False),
            "/NetworkDriver.GetCapabilities": Route(None, _network_capabilities, needs_api=False),
            "/IpamDriver.GetCapabilities": Route(None, _ipam_capabilities, needs_api=False),
            "/IpamDriver.GetDefaultAddressSpaces": Route(None, _address_spaces, needs_api=False),
            "/IpamDriver.RequestPool": Route(wire.RequestPool, ipam.request_pool),
            "/IpamDriver.ReleasePool": Route(wire.ReleasePool, ipam.release_pool, needs_api=False),
            "/IpamDriver.RequestAddress": Route(wire.RequestAddress, ipam.request_address),
            "/IpamDriver.ReleaseAddress": Route(wire.ReleaseAddress, ipam.release_address, missed=ipam.release_later),
            "/NetworkDriver.CreateNetwork": Route(wire.CreateNetwork, self._create_network),
            "/NetworkDriver.DeleteNetwork": Route(wire.DeleteNetwork, networks.delete),
            "/NetworkDriver.CreateEndpoint": Route(wire.CreateEndpoint, endpoints.create),
            "/NetworkDriver.EndpointOperInfo": Route(wire.Endpoint, endpoints.operational_info, needs_api=False),
            "/NetworkDriver.Join": Route(wire.Endpoint, endpoints.join),
            "/NetworkDriver.Leave": Route(wire.Endpoint, endpoints.leave, needs_api=False),
            "/NetworkDriver.DeleteEndpoint": Route(wire.Endpoint, endpoints.delete, missed=endpoints.delete_later),
            "/NetworkDriver.ProgramExternalConnectivity": Route(wire.External, published.program, needs_api=False),
            "/NetworkDriver.RevokeExternalConnectivity": Route(wire.Endpoint, published.revoke, needs_api=False),
            "/NetworkDriver.DiscoverNew": Route(None, _nothing, needs_api=False),
            "/NetworkDriver.DiscoverDelete": Route(None, _nothing, needs_api=False),
        }

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer to a call; never fails."""
        route = self._routes.get(path)
        if route is None:
            return _failure(HTTPStatus.NOT_FOUND, f"Portico's driver has no call {path}.")
        started = time.monotonic()
        try:
            call = _decode(route.body, path, body) if route.body else None
            found = self._carry_out(route, call)
        except PorticoError as error:
            LOG.warning("%s: %s", path, error.message)
            return _failure(HTTPStatus.INTERNAL_SERVER_ERROR, error.message)
        except Exception as error:
            # Without an answer the engine would repeat the call for 15 s with an empty body.
            LOG.exception("%s failed", path)
            return _failure(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")
        LOG.debug("%s: %s after %.1f ms", path, found, (time.monotonic() - started) * 1000)
        return HTTPStatus.OK, msgspec.json.encode(found)

    def _carry_out(self, route: Route, call: wire.Call | None) -> wire.Answer:
        try:
            with in_time(self._api):
                if route.needs_api:
                    self._pulse.check()
                return route.answer(call)
        except Unavailable:
            route.missed(call)
            raise

    def _activate(self, _call: None) -> wire.Answer:
        """Begin with an engine that has just started: whatever the one before was about to do is off."""
        self._pending.clear()
        self._reservations.clear()
        return {"Implements": ["NetworkDriver", "IpamDriver"]}

    def _create_network(self, call: wire.CreateNetwork) -> wire.Answer:
        found = self._networks.create(call)
        self._network_made()
        return found


def _decode(kind: type[wire.Call], path: str, body: bytes) -> wire.Call:
    if not body.strip():
        raise BadRequest(f"{path} came without a body, as the engine repeats calls that broke off: try again.")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise BadRequest(f"{path}: {error}") from error


def _failure(status: HTTPStatus, text: str) -> tuple[int, bytes]:
    return status, msgspec.json.encode({"Err": text, "Error": text})


def _network_capabilities(_call: None) -> wire.Answer:
    return {"Scope": "local", "ConnectivityScope": "local"}


def _ipam_capabilities(_call: None) -> wire.Answer:
    return {"RequiresMACAddress": False, "RequiresRequestReplay": False}


def _address_spaces(_call: None) -> wire.Answer:
    return {"LocalDefaultAddressSpace": LOCAL_SPACE, "GlobalDefaultAddressSpace": GLOBAL_SPACE}


def _nothing(_call: object) -> wire.Answer:
    return {}
