# SPDX-License-Identifier: Apache-2.0
"""Users with a token of Keystone.

What keystonemiddleware does with service tokens and access rules is done here as well.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from portico.errors import Unauthorized, Unavailable
from portico.identity import access_rule
from portico.identity.flight import Flights
from portico.identity.token import Token
from portico.identity.token_cache import TokenCache
from portico.identity.who import Credentials, Who
from portico.settings_identity import KeystoneSettings

THREADS = 8
WAITING = 256
# So long a Keystone that did not answer is not asked again; then by one request, and if that is answered by all.
PAUSE_S = 1.0
LOG = logging.getLogger(__name__)


class Validator(Protocol):
    """Who knows the tokens; `portico.identity.keystone_server` does."""

    url: str

    def validate(self, token: str, may_be_expired: bool) -> Token | None:
        """Return what is known of a token; None: there is no such token.

        Raises:
            Unavailable: there is no answer.
        """


class Keystone:
    """Who asks has a token.

    An answer is good for `cache_s`, so that a revoked token is refused by then. While Keystone does not answer, tokens
    that are known stay good for `outage_s` after they were last asked about, unless they expire.
    """

    # A page must know the token to send it, and the browser then asks us first whether it may.
    is_ambient = False

    def __init__(
        self, settings: KeystoneSettings, server: Validator, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.challenge = f'Keystone uri="{settings.public_url or server.url}"'
        self._service_roles = frozenset(settings.service_roles)
        self._timeout_s = settings.timeout_s
        self._server = server
        self._now = now
        self._key = secrets.token_bytes(32)
        self._cache = TokenCache(settings.cache_s, settings.outage_s, now)
        self._flights: Flights[Token | None] = Flights("keystone", THREADS, WAITING)
        self._outage = Outage(now)

    def known(self, given: Credentials) -> Who | None:
        """See Authenticator."""
        if not given.token:
            raise Unauthorized("The request you have made requires authentication: an X-Auth-Token.")
        service = None
        if given.service_token:
            service = self._remembered(given.service_token, False)
            if service is None:
                return None
        token = self._remembered(given.token, service is not None)
        return None if token is None else self._admitted(token, service, given)

    async def find(self, given: Credentials) -> Who:
        """See Authenticator."""
        service = await self._found(given.service_token, False) if given.service_token else None
        if service is not None:
            self._check_service(service)
        return self._admitted(await self._found(given.token, service is not None), service, given)

    def _admitted(self, token: Token, service: Token | None, given: Credentials) -> Who:
        if service is not None:
            self._check_service(service)
        elif token.expires_s <= time.time():
            raise _refused("token")
        token.require_scope()
        if service is not None:
            return msgspec.structs.replace(token.who, service_roles=service.who.roles)
        rules = token.access_rules
        if rules is not None and not access_rule.admits(rules, given.method, given.path):
            raise Unauthorized(
                f"{given.method} {given.path[:200]}: no access rule of the application credential is for this request."
            )
        return token.who

    def _check_service(self, service: Token) -> None:
        if service.expires_s <= time.time():
            raise _refused("service token")
        if not self._service_roles.intersection(service.who.roles):
            raise Unauthorized(f"The service token has none of the roles {', '.join(sorted(self._service_roles))}.")

    def _remembered(self, text: str, may_be_expired: bool) -> Token | None:
        key = self._digest(text, may_be_expired)
        found = self._cache.fresh(key)
        if found is None and self._cache.is_wrong(key):
            raise _refused("token")
        return found

    async def _found(self, text: str, may_be_expired: bool) -> Token:
        remembered = self._remembered(text, may_be_expired)
        if remembered is not None:
            return remembered
        key = self._digest(text, may_be_expired)
        try:
            found = await self._asked(key, text, may_be_expired)
        except Unavailable:
            before = self._cache.before_outage(key)
            if before is None:
                raise
            return before
        if found is None:
            raise _refused("token")
        return found

    async def _asked(self, key: bytes, text: str, may_be_expired: bool) -> Token | None:
        """Ask Keystone, together with all who ask about the same token now.

        Raises:
            Unavailable: it does not answer, or did not a moment ago.
        """
        if self._flights.is_full(key):
            raise _unavailable()
        self._outage.enter()
        at_s = self._now()
        try:
            found = await self._flights.once(key, partial(self._ask, at_s, text, may_be_expired), self._timeout_s)
        except (Unavailable, TimeoutError) as error:
            late = f"Keystone at {self._server.url}: no answer within {self._timeout_s:g} s"
            self._outage.begin(str(error) or late)
            raise _unavailable() from error
        except BaseException:
            self._outage.leave()
            raise
        self._outage.end()
        self._cache.note(key, found, at_s)
        return found

    def _ask(self, at_s: float, text: str, may_be_expired: bool) -> Token | None:
        if self._now() > at_s + self._timeout_s:
            # Nobody waits any more; asking all the same would keep those waiting who do.
            raise Unavailable("")
        return self._server.validate(text, may_be_expired)

    def _digest(self, text: str, may_be_expired: bool) -> bytes:
        # The two questions have two answers.
        return hashlib.blake2b(text.encode(), key=self._key, person=b"expired" if may_be_expired else b"").digest()


class Outage:
    """Whether Keystone is away; then one request at a time finds out whether it is back."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._is_away = False
        self._is_tried = False
        self._again_s = 0.0

    def enter(self) -> None:
        """Let a request ask.

        Raises:
            Unavailable: another one asks already, or just did.
        """
        if self._is_away:
            if self._is_tried or self._now() < self._again_s:
                raise _unavailable()
            self._is_tried = True

    def leave(self) -> None:
        """Note that a request went away without an answer."""
        self._is_tried = False

    def begin(self, reason: str) -> None:
        """Note that Keystone does not answer, and why."""
        if not self._is_away:
            LOG.error("%s; tokens that are known go on working for a while", reason)
        self._is_away, self._is_tried = True, False
        self._again_s = self._now() + PAUSE_S

    def end(self) -> None:
        """Note that it does."""
        if self._is_away:
            LOG.info("Keystone answers again")
        self._is_away = self._is_tried = False


def _refused(what: str) -> Unauthorized:
    return Unauthorized(f"The {what} is unknown, revoked or expired.")


def _unavailable() -> Unavailable:
    return Unavailable("The Keystone service is temporarily unavailable.", type="HTTPServiceUnavailable")
