# SPDX-License-Identifier: Apache-2.0
"""Users of a file beside those of Keystone, for agents of other hosts: they have a password and ask for no tokens."""

from __future__ import annotations

from portico.identity.who import Authenticator, Credentials, Who


class Either:
    """Who asks has a token, or else the password of a user; 401 tells the way to a token."""

    def __init__(self, tokens: Authenticator, users: Authenticator) -> None:
        self.challenge = tokens.challenge
        self.is_ambient = tokens.is_ambient or users.is_ambient
        self._tokens = tokens
        self._users = users

    def known(self, given: Credentials) -> Who | None:
        """See Authenticator."""
        return self._of(given).known(given)

    async def find(self, given: Credentials) -> Who:
        """See Authenticator."""
        return await self._of(given).find(given)

    def _of(self, given: Credentials) -> Authenticator:
        return self._users if given.authorization and not given.token else self._tokens
