# SPDX-License-Identifier: Apache-2.0
"""What crashes leave behind, found and removed; and Docker's names on Portico's objects.

A thing is removed when two rounds in a row find that nobody has it, with more time between them than any container
takes to start: what is on its way in one round has arrived in the next. An endpoint whose link is not in this namespace
is in a container's, and stays whatever the engine says. Each is removed as it was seen in this round (`If-Match`): what
somebody has changed since then stays, and the next round looks at it anew.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from portico.docker import use
from portico.docker.api import Api, Object, delete_if_there
from portico.docker.endpoint import PLUG_WITHIN_S
from portico.docker.engine import Inventory
from portico.docker.group import made_by
from portico.docker.held import Held
from portico.docker.network import remove
from portico.docker.outside import remove_router
from portico.docker.publish import is_free
from portico.docker.record import ANCHOR, ENDPOINT, PLUGGED, RESERVED, Records, host_of, read
from portico.errors import NotFound, PorticoError, PreconditionFailed

LOG = logging.getLogger(__name__)

# How long nobody must have a thing, however often there is a round: Join's longest, and the engine's time around it.
IDLE_S = PLUG_WITHIN_S + 4


class Leftover(msgspec.Struct, frozen=True):
    """Something that nobody seems to have. `kind` also tells how it is removed."""

    kind: str
    id: str
    remove: Callable[[], None]


class Sweeper:
    """Remembers from one round to the next.

    Args:
        inventory: asks the engine; None when it does not answer, and then only what needs no asking is swept.
        link_is_here: tells whether a link is in the namespace of this process.
        held: the ports that this process has in hand; it knows better than the engine did a moment ago whose they are.
        idle_s: how long nobody must have a thing.
    """

    def __init__(
        self,
        api: Api,
        host: str,
        records: Records,
        inventory: Callable[[], Inventory | None],
        link_is_here: Callable[[str], bool],
        held: Held | None = None,
        idle_s: float = IDLE_S,
    ) -> None:
        self._api = api
        self._host = host
        self._records = records
        self._inventory = inventory
        self._link_is_here = link_is_here
        self._held = held or Held()
        self._idle_s = idle_s
        self._seen: dict[tuple[str, str], float] = {}

    def round(self) -> list[str]:
        """Remove what was left over in the last round already, and for long enough; return what it was.

        Raises:
            PorticoError: the API does not answer.
        """
        found = list(self._leftovers())
        removed = []
        now = time.monotonic()
        for item in found:
            if now - self._seen.get((item.kind, item.id), now + 1) < self._idle_s:
                continue
            try:
                item.remove()
            except PorticoError as error:
                LOG.info("sweep: %s %s stays for now: %s", item.kind, item.id, error)
            else:
                LOG.info("sweep: removed %s %s, which nobody has", item.kind, item.id)
                removed.append(f"{item.kind} {item.id}")
        self._seen = {key: self._seen.get(key, now) for key in ((item.kind, item.id) for item in found)}
        return removed

    def _leftovers(self) -> Iterator[Leftover]:
        ports = [port for port in self._docker_ports() if host_of(port) == self._host]
        # Asked after the API: what the engine made in between is known to it and not in question here.
        inventory = self._inventory()
        idle = [port for port in ports if self._is_idle(port, inventory)]
        for port in idle:
            yield Leftover(port["device_owner"], port["id"], lambda port=port: self._end(port))  # type: ignore[misc]
        anchors = [port for port in ports if port["device_owner"] == ANCHOR]
        busy = {use.of(port).network for port in ports if port not in anchors and port not in idle}
        for port in anchors:
            if inventory is not None and port["device_id"] not in inventory.networks and port["device_id"] not in busy:
                yield Leftover(ANCHOR, port["id"], lambda port=port: self._remove_network(port))  # type: ignore[misc]
        yield from self._halves(ports, anchors)

    def _docker_ports(self) -> list[Object]:
        return self._api.list("ports", device_owner=[ANCHOR, RESERVED, *PLUGGED])

    def _is_idle(self, port: Object, inventory: Inventory | None) -> bool:
        if port["device_owner"] == ANCHOR:
            return False
        link = port["binding:vif_details"].get("link_name")
        if link is not None and not self._link_is_here(link):
            return False
        is_unknown = inventory is not None and port["device_id"] not in inventory.endpoints
        return is_unknown or port["device_owner"] == RESERVED

    def _end(self, port: Object) -> None:
        use.end(self._api, port, port["revision_number"])

    def _remove_network(self, port: Object) -> None:
        remove(self._api, self._host, read(port), port["revision_number"])
        self._records.forget(port["device_id"])

    def _halves(self, ports: list[Object], anchors: list[Object]) -> Iterator[Leftover]:
        """Yield what was made for a Docker network or an endpoint that did not come to be."""
        with_router = {read(port).router for port in anchors}
        for router in self._api.list("routers", description=made_by(self._host)):
            if router["id"] not in with_router:
                yield Leftover("routers", router["id"], partial(self._remove_router, router))
        for item in self._api.list("floatingips", description=made_by(self._host)):
            if is_free(item):
                seen = ("floatingips", item["id"], item["revision_number"])
                yield Leftover(*seen[:2], partial(delete_if_there, self._api, *seen))
        with_anchor = {port["network_id"] for port in anchors}
        used = {read(port).group if port in anchors else use.of(port).group for port in ports}
        for collection, in_use in (("networks", with_anchor), ("security_groups", used)):
            fields = ["id", "revision_number"]
            for item in self._api.list(collection, description=made_by(self._host), fields=fields):
                if item["id"] not in in_use:
                    seen = (collection, item["id"], item["revision_number"])
                    yield Leftover(*seen[:2], lambda seen=seen: delete_if_there(self._api, *seen))  # type: ignore[misc]

    def _remove_router(self, router: Object) -> None:
        remove_router(self._api, router, router["revision_number"])

    def name(self) -> None:
        """Give Portico's objects the names of Docker networks and containers, which drivers are not told.

        And write down who uses a port where the plugin or the API ended before that (see `Endpoints.join`).

        Raises:
            PorticoError: the API does not answer.
        """
        # Asked after the API: a port that the engine has by then is one of these, or these are gone.
        ports = self._docker_ports()
        inventory = self._inventory()
        if inventory is None:
            return
        for port in ports:
            if host_of(port) != self._host:
                continue
            if port["device_owner"] == ANCHOR:
                self._name_network(port, inventory)
                continue
            changes = self._of_endpoint(port, inventory)
            if changes:
                self._change(port, changes)

    def _name_network(self, port: Object, inventory: Inventory) -> None:
        docker_id = port["device_id"]
        name, before = inventory.networks.get(docker_id), f"docker-{docker_id[:12]}"
        # Docker's networks keep their names; one that is another already was given by people.
        if name and port["name"] == before:
            record = read(port)
            if record.owned:
                self._api.update("networks", port["network_id"], {"name": name})
            for router in self._api.list("routers", id=record.router, name=before) if record.router else ():
                self._api.update("routers", router["id"], {"name": name})
            self._change(port, {"name": name})

    def _change(self, port: Object, changes: Object) -> None:
        # It went, or somebody changed it, while the engine was asked: the next round looks again.
        with contextlib.suppress(NotFound, PreconditionFailed):
            self._api.update("ports", port["id"], changes, port["revision_number"])

    def _of_endpoint(self, port: Object, inventory: Inventory) -> Object:
        """Return what the engine knows of an endpoint's port, where the port says something else."""
        how = use.of(port)
        known: Object = {}
        endpoint_id = port["device_id"]
        if port["device_owner"] == RESERVED:
            endpoint_id = inventory.by_mac.get((how.network, port["mac_address"]), "")
            if not endpoint_id or self._held.endpoint(port["id"]) not in (None, endpoint_id):
                return {}
            known = {"device_owner": ENDPOINT, "device_id": endpoint_id}
        name = inventory.endpoints.get(endpoint_id)
        if name and use.adopted(port) is None:  # a port that was there before keeps its own
            known["name"] = name
        return {key: value for key, value in known.items() if port[key] != value}
