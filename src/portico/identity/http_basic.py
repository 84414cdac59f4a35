# SPDX-License-Identifier: Apache-2.0
"""HTTP basic authentication (RFC 7617) with the users of an htpasswd file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import time
from collections.abc import Callable, Collection
from pathlib import Path

import bcrypt

from portico.errors import Forbidden, SettingsError, Unauthorized, Unavailable
from portico.identity.flight import Flights
from portico.identity.htpasswd import Htpasswd
from portico.identity.who import ADMIN_ROLES, MEMBER_ROLES, Credentials, Who

CACHE_S = 60.0
REMEMBERED = 1024
# bcrypt uses a processor for each check; the other ones go on serving who is known.
THREADS = 2
WAITING = 64
TIMEOUT_S = 10.0
# bcrypt looks at no more of a password.
PASSWORD_BYTES = 72
MAX_HEADER = 4096
# Of a hash: how htpasswd makes it by default, and how long it is behind the salt.
DEFAULT_COST = 5
DIGEST_LENGTH = 31


class HttpBasic:
    """Who asks is a user of a file: a member of the project of the user's name, or one of the administrators.

    A password that was right is right for a minute, or until the file changes. What is remembered is not the password
    but a hash of it under a key that no one else has.

    Raises:
        SettingsError: the file cannot be read, a line of it is wrong, or an administrator is not in it.
    """

    challenge = 'Basic realm="portico"'
    # A browser that was once given them adds them to every request, whichever page sends it.
    is_ambient = True

    def __init__(self, file: Path, admins: Collection[str], now: Callable[[], float] = time.monotonic) -> None:
        self._file = Htpasswd(file)
        self._admins = frozenset(admins)
        if missing := sorted(self._admins - self._file.users.hashes.keys()):
            raise SettingsError(f"http_basic.admins: '{missing[0]}' is no user of {file}")
        self._now = now
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, tuple[str, float]] = {}
        self._flights: Flights[str] = Flights("bcrypt", THREADS, WAITING)
        self._nobody = _hash_of_nobody(self._file.users.cost)

    def known(self, given: Credentials) -> Who | None:
        """See Authenticator."""
        if not given.authorization:
            raise Unauthorized("The request you have made requires authentication: a user name and a password.")
        if self._file.renew():
            self._right.clear()
            self._nobody = _hash_of_nobody(self._file.users.cost)
        name, until = self._right.get(self._digest(given), ("", 0.0))
        return self._who(name, given) if self._now() < until else None

    async def find(self, given: Credentials) -> Who:
        """See Authenticator."""
        user, password = _parse(given.authorization)
        users, digest = self._file.users, self._digest(given)
        # A user who is not there costs as much time as one whose password is wrong.
        hashed = users.hashes.get(user, self._nobody)

        def check() -> str:
            return user if bcrypt.checkpw(password[:PASSWORD_BYTES], hashed) and hashed != self._nobody else ""

        if self._flights.is_full(digest):
            raise _busy()
        try:
            name = await self._flights.once(digest, check, TIMEOUT_S)
        except TimeoutError as error:
            raise _busy() from error
        if not name:
            raise Unauthorized("The user name or the password is wrong.")
        if users is self._file.users:
            self._remember(digest, name)
        return self._who(name, given)

    def _remember(self, digest: bytes, name: str) -> None:
        self._right.pop(digest, None)
        self._right[digest] = name, self._now() + CACHE_S
        if len(self._right) > REMEMBERED:
            del self._right[next(iter(self._right))]

    def _who(self, name: str, given: Credentials) -> Who:
        if name in self._admins:
            return Who(given.project_id or name, name, ADMIN_ROLES, is_admin=True)
        if given.project_id not in ("", name):
            raise Forbidden(
                f"X-Project-Id '{given.project_id[:40]}': user '{name}' is in project '{name}' alone; "
                "only administrators may name another."
            )
        return Who(name, name, MEMBER_ROLES)

    def _digest(self, given: Credentials) -> bytes:
        return hashlib.blake2b(given.authorization.encode(), key=self._key).digest()


def _busy() -> Unavailable:
    return Unavailable("Too many passwords wait for their check.", type="HTTPServiceUnavailable")


def _hash_of_nobody(cost: int) -> bytes:
    """Return a hash that no password has, as costly to check as the users'."""
    return bcrypt.gensalt(cost or DEFAULT_COST) + b"." * DIGEST_LENGTH


def _parse(authorization: str) -> tuple[str, bytes]:
    """Return user name and password.

    Raises:
        Unauthorized: the header holds none.
    """
    scheme, _, encoded = authorization.partition(" ")
    try:
        if scheme.lower() == "basic" and len(encoded) <= MAX_HEADER:
            name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
            if colon and b"\0" not in password:
                return name.decode(), password
    except (binascii.Error, ValueError):
        pass
    raise Unauthorized("The Authorization header is not Basic with the base64 of NAME:PASSWORD (RFC 7617).")
