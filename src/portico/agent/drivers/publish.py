# SPDX-License-Identifier: Apache-2.0
"""The rules in the host's namespace: of uplinks, of the routed space, and of the ports that the host publishes.

All are in one table, which every change replaces whole in one transaction; connections that are there keep their way.
The table as nft lists it after our last change tells whether somebody else has changed it since.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from portico.agent import host_rules, netlink, owner
from portico.agent.delta import Delta, Forgotten, Trouble, Wanted
from portico.agent.docker_user import DockerUser
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.drivers.libnftables import Nft, NftError
from portico.agent.host_ports import HostPorts
from portico.agent.host_rules import Rules
from portico.hoststate import Publish, Space, Uplink

_WAYS = ("uplink/", "space/")


@dataclass(frozen=True, slots=True)
class HostRulesItem:
    """The rules of an object as wanted or found, by their digest; `passes`: Docker's firewall does not stop them."""

    digest: str
    passes: bool = True


class HostRulesDriver:
    """Keys `uplink/...`, `space/...` and `publish/...`; `netns` is the agent's namespace by name."""

    def __init__(
        self,
        netns: str,
        nft: Nft,
        docker: DockerUser,
        ports: HostPorts,
        conntrack: Conntrack,
        events: netlink.Socket,
    ) -> None:
        self._netns = netns
        self._table = owner.host_table(netns)
        self._nft = nft
        self._docker = docker
        self._ports = ports
        self._conntrack = conntrack
        self._events = events
        self._listing: str | None = None
        self._rules: dict[str, Rules] = {}
        """What is in the table, with comments, by key."""
        self._may_have_chain_rules = True
        self._wanted: dict[str, Uplink | Space | Publish] = {}
        self._texts: dict[str, Rules] = {}

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver. Of several that want the same port of the host, the one that has it keeps it."""
        found = {key: wanted.objects.get(key) for key in keys}
        mine = {key: item for key, item in found.items() if isinstance(item, Uplink | Publish) or _is_way_out(item)}
        items, troubles = {}, self._clashes(wanted) if any(isinstance(item, Publish) for item in mine.values()) else {}
        troubles = {key: trouble for key, trouble in troubles.items() if key in mine}
        for key, item in mine.items():
            if key in troubles:
                continue
            if isinstance(item, Publish) and not _has_way(wanted, item.network_id):
                troubles[key] = Trouble(f"network {item.network_id} has no uplink on this host yet", waiting=True)
                continue
            try:
                rules = self._rules_of(item)
            except ValueError as error:
                troubles[key] = Trouble(str(error))
                continue
            self._texts[key], self._wanted[key] = rules, item
            items[key] = HostRulesItem(host_rules.digest(rules))
        return items, troubles

    def _rules_of(self, item: Uplink | Space | Publish) -> Rules:
        if isinstance(item, Uplink):
            return host_rules.of_uplink(item)
        if isinstance(item, Space):
            return host_rules.of_space(item, owner.space_link(self._netns))
        return host_rules.of_publish(item, host_rules.host_link(item.network_id, self._netns))

    def _clashes(self, wanted: Wanted) -> dict[str, Trouble]:
        ordered = sorted(wanted.of(Publish), key=lambda item: (item.key not in self._rules, item.key))
        return {
            item.key: Trouble(
                f"{item.protocol} port {_told(item.ports)} of the host is published for port forwarding "
                f"{other.forwarding_id} already"
            )
            for item, other in host_rules.clashes(ordered)
        }

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        if keys is not None and not any(key.startswith((*_WAYS, "publish/")) for key in keys):
            return {}
        listing = self._list()
        if listing != self._listing:
            if keys is not None:
                raise Forgotten
            self._take_over(listing)
        found = {key: HostRulesItem(digest) for key, digest in self._digests(listing).items()}
        if keys is None or any(key.startswith(_WAYS) for key in keys):
            found = self._with_docker(found)
        return found if keys is None else {key: item for key, item in found.items() if key in keys}

    def _digests(self, listing: str) -> dict[str, str]:
        """Return the digests of what is in the table; empty ones of what may not be as it says."""
        if self._listing is None:
            return dict.fromkeys(self._rules, "")
        there = host_rules.standing(listing)
        return {
            key: _digest(rules) if len(there.get(key, ())) == len(rules) else "" for key, rules in self._rules.items()
        }

    def _with_docker(self, found: dict[str, HostRulesItem]) -> dict[str, HostRulesItem]:
        """Return what was found, with what Docker's chain has of uplinks, and what only that has."""
        uplinks = [key.partition("/")[2] for key in found if key.startswith(_WAYS)]
        if not uplinks and not self._may_have_chain_rules:
            return found
        passes = self._docker.read(uplinks)
        self._may_have_chain_rules = bool(passes)
        told = {host_rules.way_key(network_id): is_right for network_id, is_right in passes.items()}
        return found | {
            key: HostRulesItem(found[key].digest if key in found else "", passes=is_right)
            for key, is_right in told.items()
        }

    def _take_over(self, listing: str) -> None:
        """Learn what is in a table that is not as we left it: nothing of it is taken to be right."""
        self._rules = {key: tuple(rules) for key, rules in host_rules.standing(listing).items()}
        if listing and not self._rules:  # somebody emptied it
            self._commit({}, ())
        self._listing = None if self._rules else ""

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        put, troubles = {}, {}
        for key in delta.put:
            if why := self._obstacle(key):
                troubles[key] = Trouble(why)
            else:
                put[key] = host_rules.commented(key, self._texts[key])
        try:
            self._commit(put, {*delta.gone, *troubles})
        except NftError:
            bad = self._find_bad(put)
            troubles |= bad
            put = {key: rules for key, rules in put.items() if key not in bad}
            try:
                self._commit(put, {*delta.gone, *troubles})
            except NftError as error:
                return troubles | {key: Trouble(f"nft: {error}") for key in [*put, *delta.gone]}
        for key in [*put, *delta.gone]:
            try:
                self._follow(key, is_put=key in put)
            except OSError as error:
                troubles[key] = Trouble(str(error))
        return troubles

    def _obstacle(self, key: str) -> str:
        item = self._wanted[key]
        if not isinstance(item, Publish) or key in self._rules:
            return ""
        return self._ports.obstacle(item.protocol, item.addresses, item.ports)

    def _commit(self, put: Mapping[str, Rules], gone: Collection[str]) -> None:
        """Replace the table; it stays as it was if nft refuses."""
        rules = {**{key: each for key, each in self._rules.items() if key not in gone}, **put}
        self._nft.run(host_rules.render(self._table, rules))
        self._rules = rules
        self._listing = self._list()

    def _follow(self, key: str, *, is_put: bool) -> None:
        """Do what comes after the rules of an object have changed."""
        kind, _, object_id = key.partition("/")
        item = self._wanted.get(key) if is_put else self._wanted.pop(key, None)
        if kind in ("uplink", "space"):
            (self._docker.put if is_put else self._docker.remove)(object_id)
        elif isinstance(item, Publish) and item.protocol == "udp":
            self._conntrack.forget_datagrams(item.ports)
        if not is_put:
            self._texts.pop(key, None)

    def _find_bad(self, put: Mapping[str, Rules]) -> dict[str, Trouble]:
        bad = {}
        for key, rules in put.items():
            try:
                self._nft.check(host_rules.render(self._table, {key: rules}))
            except NftError as error:
                bad[key] = Trouble(f"nft: {error}")
        return bad

    def fileno(self) -> int:
        """Return a descriptor that is readable when anybody has changed the host's rules."""
        return self._events.fileno()

    def changed(self) -> list[str]:
        """Return the keys of what others, as far as it is known, may have changed since the last call."""
        try:
            is_changed = any(True for _ in self._events.events())
        except netlink.NetlinkError:
            is_changed = True
        if not is_changed or not self._rules:
            return []
        is_ours = self._list() == self._listing
        return [key for key in self._rules if not is_ours or key.startswith(_WAYS)]

    def _list(self) -> str:
        return self._nft.tables([("inet", self._table)]).get("inet", "")


def _is_way_out(item: object) -> TypeGuard[Space]:
    return isinstance(item, Space) and item.way_out


def _has_way(wanted: Wanted, network_id: str) -> bool:
    found = wanted.objects.get(host_rules.way_key(network_id))
    return isinstance(found, Uplink) or _is_way_out(found)


def _digest(rules: Rules) -> str:
    """Return the digest that the comments of rules tell."""
    return rules[0][1].rpartition(" ")[2].rstrip('"') if rules else ""


def _told(ports: tuple[int, int]) -> str:
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]} to {ports[1]}"
