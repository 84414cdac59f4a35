# SPDX-License-Identifier: Apache-2.0
"""The API server's process: database, broker and HTTP on TCP and unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvicorn

from portico import garbage
from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.api.connection import bounded
from portico.api.stream import Ending
from portico.api.tls import Tls
from portico.broker import installed
from portico.broker.broker import Broker
from portico.broker.choice import name_backends
from portico.broker.hosts import HostStates
from portico.errors import SettingsError
from portico.identity.who import Authenticator
from portico.model.load import load
from portico.model.resource import Registry
from portico.rules.context import Everything, Limits, Policy
from portico.settings import Settings
from portico.settings_check import TcpAddress, is_loopback, is_loopback_name, parse_listen, parse_vlan_range
from portico.store import schema
from portico.store.store import Store
from portico.telemetry.audit import AuditLog
from portico.telemetry.metrics import Metrics
from portico.telemetry.profile import Profiler

BACKLOG = 1024
# Longer than a client of ours keeps a connection without using it, so that it never finds one half closed.
KEEP_ALIVE_S = 75
# So long may a client that connects say nothing.
HANDSHAKE_S = 10
LOG = logging.getLogger(__name__)


def make_api(settings: Settings) -> Api:
    """Return the API on an open, upgraded database; nothing listens yet."""
    factories = {name: installed.find(name, settings.neutron) for name in settings.backends}
    store = Store(settings.database, load())
    schema.ensure(store)
    hosts = HostStates()
    backends = {name: make(hosts, settings.network.dns_domain) for name, make in factories.items()}
    for name, backend in backends.items():
        if backend.describe().name != name:
            raise SettingsError(f"backends: '{name}' calls itself '{backend.describe().name}': one name is needed")
    broker = Broker(store, hosts, list(backends.values()), settings.broker)
    name_backends(store, broker.choice)
    if settings.log.audit_file:
        store.audit(AuditLog(Path(settings.log.audit_file)).write)
    limits = Limits(
        quotas=msgspec.structs.asdict(settings.quota),
        mtu=settings.network.mtu,
        mac_base=settings.network.mac_base,
        dns_domain=settings.network.dns_domain,
        default_project=settings.default_project,
        block_v4=settings.network.block_v4,
        block_v6=settings.network.block_v6,
        vlan_ranges=tuple(map(parse_vlan_range, settings.network.vlan_ranges)),
    )
    policy = make_policy(settings, store.registry)
    api = Api(Service(store=store, page_max=settings.api.page_max), broker, hosts, limits, policy)
    if settings.profile:
        api.workers.profiler = Profiler(Path(settings.profile))
    return api


def make_authenticator(settings: Settings) -> Authenticator | None:
    """Return what tells who asks over TCP; None with auth none. Only what is used is loaded.

    Raises:
        SettingsError: a file of users or a secret cannot be read.
    """
    if settings.auth == "none":
        return None
    users: Authenticator | None = None
    if settings.http_basic.file:
        from portico.identity.http_basic import HttpBasic

        users = HttpBasic(Path(settings.http_basic.file), settings.http_basic.admins)
    if settings.auth == "http_basic":
        return users
    from portico.identity.either import Either
    from portico.identity.keystone import Keystone
    from portico.identity.keystone_server import KeystoneServer

    tokens = Keystone(settings.keystone, KeystoneServer(settings.keystone))
    return Either(tokens, users) if users else tokens


def make_policy(settings: Settings, registry: Registry) -> Policy:
    """Return the policy in force: without identities everybody may do all, and nothing is loaded.

    Raises:
        SettingsError: the policy file cannot be used; names the rule.
    """
    if settings.auth == "none":
        return Everything()
    from portico.policy.policy import Policy as Rules

    return Rules(registry, Path(settings.policy_file) if settings.policy_file else None)


def listen(addresses: tuple[str, ...]) -> list[socket.socket]:
    """Open the sockets to listen on.

    Raises:
        SettingsError: an address cannot be listened on, and why.
    """
    return [_listen(text) for text in addresses]


def _listen(text: str) -> socket.socket:
    address = parse_listen(text)
    try:
        if isinstance(address, TcpAddress):
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            # The protocol is named because asyncio sets TCP_NODELAY only where it is.
            sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((address.host, address.port))
            except OSError:
                sock.close()
                raise
        else:
            sock = _unix_socket(Path(address.path))
    except OSError as error:
        raise SettingsError(f"listen: '{text}': {error.strerror or error}") from error
    sock.listen(BACKLOG)
    return sock


def _unix_socket(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Whoever may open the socket is an administrator, whatever `auth` says: only its owner may.
    mask = os.umask(0o177)
    try:
        sock.bind(str(path))
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(mask)
    return sock


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on.

    Raises:
        OSError: somebody does.
    """
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as probe:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
        probe.connect(str(path))
        raise OSError(errno.EADDRINUSE, "another process serves there")
    path.unlink(missing_ok=True)


class Server(uvicorn.Server):
    """uvicorn, but that streams end when it does, and a signal which ends it does not end the process as well.

    Args:
        streams: ended before requests that are under way are waited for.
        ending: called when a signal ends it, in its handler or soon afterwards.
        tls: of what listens on TCP; None for none.
        drain_s: seconds in which it goes on after the first signal, while `streams` announces the end.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        streams: Ending,
        ending: Callable[[], None] = lambda: None,
        tls: Tls | None = None,
        drain_s: float = 0.0,
    ) -> None:
        super().__init__(config)
        self._streams = streams
        self._drain_s = drain_s
        self._ends_at: float | None = None
        self._ending = ending
        self._tls = tls
        self._renew_wanted = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve unix sockets as they are, and TCP with TLS if there is a certificate: uvicorn knows one way for all."""
        unix = [sock for sock in sockets or () if sock.family == socket.AF_UNIX]
        tcp = [sock for sock in sockets or () if sock.family != socket.AF_UNIX]
        if self._tls is None:
            await super().startup([*unix, *tcp])
            return
        await super().startup(unix)
        loop = asyncio.get_running_loop()
        for sock in tcp:
            context = self._tls.context
            self.servers.append(
                await loop.create_server(
                    self._protocol, sock=sock, ssl=context, backlog=BACKLOG, ssl_handshake_timeout=HANDSHAKE_S
                )
            )

    async def on_tick(self, counter: int) -> bool:
        """Do what a signal asked for, outside of its handler: the log may be what it interrupted."""
        if self._renew_wanted:
            self._renew_wanted = False
            if self._tls:
                self._tls.renew()
            else:
                LOG.info("SIGHUP: there is no certificate to read anew")
        if self._ends_at is not None and not self.should_exit and time.monotonic() >= self._ends_at:
            self.handle_exit(signal.SIGTERM, None)
        return await super().on_tick(counter)

    def _protocol(self) -> asyncio.Protocol:
        make = cast(Callable[..., asyncio.Protocol], self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what would never end by itself, and then as uvicorn does."""
        self._streams.begin()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM, SIGINT and SIGHUP while serving; uvicorn's own would raise the first two again afterwards."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        # A terminal that closes ends us as it ends other programs.
        if not os.isatty(0):
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self.ask_to_renew)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def ask_to_renew(self, _sig: int = 0, _frame: FrameType | None = None) -> None:
        """Have the certificate read anew soon."""
        self._renew_wanted = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, or first to say that this is so; a second signal does not wait."""
        self._streams.announced = True
        if self._drain_s and self._ends_at is None:
            self._ends_at = time.monotonic() + self._drain_s
            return
        self._ending()
        super().handle_exit(sig, frame)


def warn_without_tls(settings: Settings) -> None:
    """Say in the log where passwords and tokens go in plain text."""
    far = [text for text in settings.listen if not is_loopback(parse_listen(text))]
    if far and not settings.tls.certificate:
        LOG.warning(
            "%s: without TLS, whoever sees the packets reads passwords and tokens; see tls.certificate", ", ".join(far)
        )
    keystone = urlsplit(settings.keystone.auth_url)
    if settings.auth == "keystone" and keystone.scheme == "http" and not is_loopback_name(keystone.hostname or ""):
        LOG.warning("keystone.auth_url: without TLS, whoever sees the packets reads Portico's own password and tokens")


def make_config(settings: Settings, api: Api, authenticator: Authenticator | None) -> uvicorn.Config:
    """Return how the API is served."""
    return uvicorn.Config(
        make_app(api, authenticator, settings.rate_limit, log_requests=settings.log.requests),
        http=bounded(settings.api.connections_max),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=KEEP_ALIVE_S,
    )


def serve(settings: Settings, ending: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT; `ending` is called, in the signal's handler, when one comes.

    Raises:
        SettingsError, Unavailable: it cannot start; one line says why.
    """
    authenticator = make_authenticator(settings)
    tls = Tls(settings.tls) if settings.tls.certificate else None
    sockets = listen(settings.listen)
    api = make_api(settings)
    config = make_config(settings, api, authenticator)
    LOG.info("listening on %s", ", ".join(settings.listen))
    warn_without_tls(settings)
    garbage.collect_less()
    end_metrics = _serve_metrics(settings.metrics.listen, api.metrics)
    Server(config, api.ending, ending, tls, settings.api.drain_s).run(sockets=sockets)
    end_metrics()
    api.service.store.close()


def _serve_metrics(text: str, metrics: Metrics) -> Callable[[], None]:
    """Show metrics at an address of their own, if one is given, and return what ends that."""
    if not text:
        return lambda: None
    address = parse_listen(text)
    assert isinstance(address, TcpAddress), text  # noqa: S101 (checked with the settings)
    try:
        return metrics.serve(*address)[1]
    except OSError as error:
        raise SettingsError(f"metrics.listen: '{text}': {error.strerror or error}") from error
