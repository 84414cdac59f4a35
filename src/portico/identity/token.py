# SPDX-License-Identifier: Apache-2.0
"""What Keystone says of a token (Identity API v3, "Validate and show information for token")."""

from __future__ import annotations

from datetime import datetime

import msgspec

from portico.errors import Forbidden
from portico.identity.access_rule import AccessRule
from portico.identity.who import Who


class _Named(msgspec.Struct):
    id: str
    name: str = ""


class _Role(msgspec.Struct):
    name: str


class _System(msgspec.Struct):
    all: bool = False


class _Credential(msgspec.Struct):
    access_rules: tuple[AccessRule, ...] | None = None


class _Description(msgspec.Struct):
    user: _Named
    expires_at: datetime
    roles: tuple[_Role, ...] = ()
    project: _Named | None = None
    domain: _Named | None = None
    system: _System | None = None
    application_credential: _Credential | None = None


class _Answer(msgspec.Struct):
    token: _Description


class Token(msgspec.Struct, frozen=True):
    """A token that is or was good until `expires_s`, in seconds since 1970.

    `unfit` says why its scope is none that the Networking API knows; empty if it is one. `access_rules` None: it is
    good for every request.
    """

    who: Who
    expires_s: float
    unfit: str = ""
    access_rules: tuple[AccessRule, ...] | None = None

    def require_scope(self) -> None:
        """Refuse a token that has no scope of use.

        Raises:
            Forbidden: says which scope it has, and which it must have.
        """
        if self.unfit:
            raise Forbidden(self.unfit, type="PolicyNotAuthorized")


_DECODER = msgspec.json.Decoder(_Answer)


def decode(payload: bytes) -> Token:
    """Return the token of an answer.

    Raises:
        msgspec.MsgspecError: this is no description of a token.
    """
    found = _DECODER.decode(payload).token
    roles = tuple(role.name for role in found.roles)
    is_system = found.system is not None and found.system.all
    who = Who(
        project_id=found.project.id if found.project else "",
        user_id=found.user.id,
        roles=roles,
        system_scope="all" if is_system else "",
        domain_id=found.domain.id if found.domain else "",
    )
    credential = found.application_credential
    rules = credential.access_rules if credential else None
    return Token(who, found.expires_at.timestamp(), _unfit(who), rules)


def _unfit(who: Who) -> str:
    if who.project_id or who.system_scope:
        return ""
    # Its role admin is one over a domain's users, and must not be taken for the cloud's.
    scope = f"has the scope of domain '{who.domain_id}'" if who.domain_id else "has no scope"
    return f"The token {scope}; the Networking API needs one of a project or of the system."
