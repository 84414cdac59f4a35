# SPDX-License-Identifier: Apache-2.0
"""Every error that Portico raises on purpose.

PorticoError
 ├─ BadRequest        400  a value breaks a rule
 │   └─ ...           the Neutron type is in `type`, not in a class of its own
 ├─ Unauthorized      401
 ├─ Forbidden         403
 ├─ NotFound          404
 ├─ Conflict          409
 │   └─ OverQuota     409
 ├─ RevisionGone      410
 ├─ PreconditionFailed 412
 ├─ Unsupported       400  no backend can realise this
 ├─ Unavailable       503
 ├─ SettingsError     -    a setting is wrong; start stops
 └─ KernelError       -    the agent could not apply an object

A message names the object, the attribute, the value and the rule broken, in that order.
"""

from __future__ import annotations


class PorticoError(Exception):
    """The root of the tree.

    Args:
        message: what a person reads.
        type: the error's name on the wire (`NeutronError.type`), as Neutron names it where it has one.
        detail: more text for `NeutronError.detail`; empty as a rule.
    """

    status = 500

    def __init__(self, message: str, *, type: str = "", detail: str = "") -> None:  # noqa: A002 (the wire's word)
        super().__init__(message)
        self.message = message
        self.type = type or self.__class__.__name__
        self.detail = detail


class BadRequest(PorticoError):
    """A value in the request breaks a rule."""

    status = 400


class Unauthorized(PorticoError):
    """Nobody knows who asks: credentials are missing or wrong."""

    status = 401


class Forbidden(PorticoError):
    """The caller may see the object but not do this to it."""

    status = 403


class NotFound(PorticoError):
    """No such object, or none that the caller may see."""

    status = 404


class Conflict(PorticoError):
    """The request is well formed, but what exists is in its way."""

    status = 409


class OverQuota(Conflict):
    """The project's quota would be exceeded."""


class RevisionGone(PorticoError):
    """The journal does not reach from the named revision to now: start again from the whole state."""

    status = 410


class PreconditionFailed(PorticoError):
    """`If-Match` names another revision than the object has."""

    status = 412


class Unsupported(PorticoError):
    """No backend realises what the request asks for."""

    status = 400


class Unavailable(PorticoError):
    """Something that the request needs does not answer now; trying again later may help."""

    status = 503


class SettingsError(PorticoError):
    """A setting is wrong: names the setting, the value and the rule."""


class KernelError(PorticoError):
    """The kernel or an engine refused an object.

    Args:
        key: the host state key of the object.
        call: what was asked of the kernel, e.g. `link add pv0123`.
        reason: the errno's text, or the engine's own words.
    """

    def __init__(self, key: str, call: str, reason: str) -> None:
        super().__init__(f"{key}: {call}: {reason}")
        self.key = key
        self.call = call
        self.reason = reason
