# SPDX-License-Identifier: Apache-2.0
"""The way out of Docker networks: each that is not --internal has a router with a gateway on an external network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_network

from portico.docker import group, host_route, option
from portico.docker.api import Api, Object, delete_if_there
from portico.docker.pool import IpNetwork
from portico.errors import BadRequest, Conflict, Forbidden, NotFound, PorticoError, PreconditionFailed, Unsupported
from portico.settings_docker import DockerSettings

LOG = logging.getLogger(__name__)

# The backend whose networks have no L2: hosts give their ports a way out, too.
ROUTED = "routed"
# provider:network_type of networks behind the host itself.
HOST_TYPE = "host"
NAME = "host"
MADE = "Made by Docker: the way out by the host"
INTERFACE_OWNER = "network:router_interface"


class Outside:
    """Makes and removes routers of Docker networks.

    Args:
        api: where they are.
        host: whose plugin this is.
        settings: name the external network, or say what the one that is made has for subnets.
        beside: tells in which network the host is that overlaps another, if in any.
    """

    def __init__(
        self, api: Api, host: str, settings: DockerSettings, beside: Callable[[IpNetwork], str] = host_route.beside
    ) -> None:
        self._api = api
        self._host = host
        self._settings = settings
        self._beside = beside

    def connect(self, network: Mapping[str, object], subnets: Sequence[Object], external: str = "") -> str:
        """Give a network that was just made a router, and return its id; empty if there is none to be had.

        There is none on a backend that routes to no external network, nor where subnets have no gateway.

        Args:
            external: the external network that the router is to have its gateway on, by id or name; empty: that of
                the settings, else the operator's default one, else one behind the host.

        Raises:
            PorticoError: the API refuses; what was made so far is left to `remove_routers`.
        """
        inside = [subnet for subnet in subnets if subnet["gateway_ip"]]
        if not (self._settings.gateways and inside):
            return ""
        for is_again in (False, True):
            found = self._external(network, external)
            if found is None:
                return ""
            try:
                router = self._api.create("routers", self._router(network, found))
                break
            except NotFound:  # the last network that needed it went just now, and it with that
                if is_again:
                    raise
        for subnet in inside:
            self._api.request("PUT", f"/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
        return str(router["id"])

    def _router(self, network: Mapping[str, object], external: Object) -> Object:
        return {
            "name": network["name"],
            "description": group.made_by(self._host),
            "external_gateway_info": {"network_id": external["id"]},
        }

    def _external(self, network: Mapping[str, object], word: str) -> Object | None:
        """Return the external network for a network's router; None if its backend has none."""
        if word:
            return self._named(network, word, f"Option {option.EXTERNAL}")
        if self._settings.external_network:
            return self._named(network, self._settings.external_network, "docker.external_network")
        default = self._api.list("networks", is_default=True, **{"router:external": True})
        for one in default:
            if _fit(one, network) and not self._lack(one):
                return one
        found = self._behind_hosts()
        if found:
            self._refuse_taken(item["cidr"] for item in self._api.list("subnets", network_id=found[0]["id"]))
        found = found or self._make()
        return found[0] if found and _fit(found[0], network) else None

    def _named(self, network: Mapping[str, object], word: str, setting: str) -> Object | None:
        """Return the external network of this name or id, if its backend is that of a network.

        Raises:
            Conflict: there is none, there are several, or this host does not have it.
        """
        found = self._api.list("networks", id=word) or self._api.list("networks", name=word)
        if len(found) != 1 or not found[0]["router:external"]:
            raise Conflict(
                f"{setting} '{word}': there are {len(found)} networks of this name or id, and one with "
                "router:external true is needed."
            )
        if lack := self._lack(found[0]):
            raise Conflict(f"{setting} '{word}': {lack}.")
        return found[0] if _fit(found[0], network) else None

    def _lack(self, external: Object) -> str:
        """Return why this host has no external network, or ""; who may not see where that is cannot know."""
        physical = external.get("provider:physical_network")
        agents = self._api.list("agents", host=self._host) if physical else []
        has = any(physical in (agent["configurations"].get("interface_mappings") or {}) for agent in agents)
        return "" if has or not agents else f"host {self._host} has no physical network '{physical}'"

    def _behind_hosts(self) -> list[Object]:
        found = self._api.list("networks", **{"provider:network_type": HOST_TYPE, "router:external": True})
        return sorted(found, key=lambda item: (item["name"] != NAME, item["id"]))

    def _refuse_taken(self, cidrs: Iterable[str]) -> None:
        """Refuse a way out whose gateway this host would be in a network that it is in already.

        Raises:
            Conflict: names both.
        """
        for cidr in cidrs:
            if there := self._beside(ip_network(cidr)):
                raise Conflict(
                    f"The way out would have subnet {cidr}, and host {self._host} is in {there} already: set "
                    "docker.external_subnet and docker.external_ipv6_subnet to other prefixes, docker.external_network "
                    f"to another network, or give -o {option.DEFAULT_ROUTE}=false."
                )

    def _make(self) -> list[Object]:
        """Make the external network behind the hosts; nothing if no backend has such a thing."""
        wanted = [cidr for cidr in (self._settings.external_subnet, self._settings.external_ipv6_subnet) if cidr]
        self._refuse_taken(wanted)
        body = {
            "name": NAME,
            "description": MADE,
            "router:external": True,
            "provider:network_type": HOST_TYPE,
        }
        try:
            network = self._api.create("networks", body)
        except (Unsupported, BadRequest) as error:
            LOG.info("Docker networks have no way out: %s", error.message)
            return []
        except Forbidden as error:
            raise Conflict(
                "A network that is not --internal needs an external one, and the plugin may not make it: have the "
                "operator make one and set docker.external_network, or docker.gateways to false."
            ) from error
        subnets = [
            {"network_id": network["id"], "name": cidr, "ip_version": ip_network(cidr).version, "cidr": cidr,
             "enable_dhcp": False}
            for cidr in wanted
        ]  # fmt: skip
        try:
            self._api.request("POST", "/v2.0/subnets", {"subnets": subnets})
        except PorticoError:
            with suppress(PorticoError):
                delete_if_there(self._api, "networks", network["id"])
            found = self._behind_hosts()  # another host's plugin was first
            if not found:
                raise
            return found
        return [network]


def _fit(external: Object, network: Mapping[str, object]) -> bool:
    """Tell whether a router may join two networks: of one backend, or a routed one and the hosts that it is on."""
    is_behind = external["provider:network_type"] == HOST_TYPE and network["portico:backend"] == ROUTED
    return is_behind or external["portico:backend"] == network["portico:backend"]


def find_router(api: Api, network_id: str, gateways: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the router that is on a network, and which of the gateways it has; empty if none has any."""
    for port in api.list("ports", network_id=network_id, device_owner=INTERFACE_OWNER):
        held = tuple(item["ip_address"] for item in port["fixed_ips"] if item["ip_address"] in gateways)
        if held:
            return str(port["device_id"]), held
    return "", ()


def remove_routers(api: Api, host: str, interfaces: Sequence[Object]) -> None:
    """Remove the routers of this host's plugin that have `interfaces` (ports), with all that they have.

    Raises:
        Conflict: others have made it theirs, too.
    """
    for router_id in sorted({str(port["device_id"]) for port in interfaces}):
        for router in api.list("routers", id=router_id, description=group.made_by(host)):
            remove_router(api, router)


def remove_router(api: Api, router: Object, revision: int | None = None) -> None:
    """Remove a router of the plugin's, and the external network that was made for it with the last one.

    Raises:
        Conflict: others have made it theirs, too.
        PreconditionFailed: it has become something else than `revision`.
    """
    if revision is not None:
        [router] = api.list("routers", id=router["id"]) or [router]
        if router["revision_number"] != revision:
            raise PreconditionFailed(f"Router {router['id']} has changed.")
    for port in api.list("ports", device_id=router["id"], device_owner=INTERFACE_OWNER):
        with suppress(NotFound):
            api.request("PUT", f"/v2.0/routers/{router['id']}/remove_router_interface", {"port_id": port["id"]})
    delete_if_there(api, "routers", router["id"])
    gateway = router["external_gateway_info"] or {}
    for network in api.list("networks", id=gateway.get("network_id", ""), description=MADE):
        with suppress(Conflict):  # others have gateways there
            delete_if_there(api, "networks", network["id"])
