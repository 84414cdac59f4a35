# SPDX-License-Identifier: Apache-2.0
"""What is known of who asks, and how it is found out."""

from __future__ import annotations

from typing import Protocol

import msgspec

# An administrator has the roles that Keystone's admin role implies.
ADMIN_ROLES = ("admin", "manager", "member", "reader")
MEMBER_ROLES = ("member", "reader")


class Who(msgspec.Struct, frozen=True):
    """Who asks; see `portico.rules.context.Context`, which takes these over.

    `is_admin`: an administrator by the door that it came through, or by the settings. Whether roles make one is for the
    policy to say.
    """

    project_id: str
    user_id: str = ""
    roles: tuple[str, ...] = ()
    service_roles: tuple[str, ...] = ()
    system_scope: str = ""
    domain_id: str = ""
    is_admin: bool = False


class Credentials(msgspec.Struct, frozen=True):
    """What a request brings: its line, and the headers that say who sent it; an absent one is empty."""

    method: str
    path: str
    authorization: str = ""
    token: str = ""
    service_token: str = ""
    project_id: str = ""

    def __repr__(self) -> str:
        # What is shown may end in a log.
        return f"Credentials({self.method} {self.path})"


class Authenticator(Protocol):
    """Tells who asks. `challenge` is the WWW-Authenticate header of an answer 401 (RFC 9110 section 11.6.1).

    Pages of any origin may use the API if `is_ambient` is false: a browser then never adds the credentials by itself.
    """

    challenge: str
    is_ambient: bool

    def known(self, given: Credentials) -> Who | None:
        """Return who asks if that is known without waiting, or None.

        Raises:
            Unauthorized: it is known that these credentials are missing or wrong.
            Forbidden: they are not for this request.
        """

    async def find(self, given: Credentials) -> Who:
        """Find out who asks, without holding up the event loop.

        Raises:
            Unauthorized: the credentials are missing or wrong.
            Forbidden: they are not for this request.
            Unavailable: whoever knows does not answer.
        """
