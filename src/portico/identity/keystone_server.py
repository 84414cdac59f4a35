# SPDX-License-Identifier: Apache-2.0
"""Keystone's side of the question about a token: who we are there, and what its answers mean."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec
from keystoneauth1 import exceptions
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from portico.errors import SettingsError, Unavailable
from portico.identity.token import Token, decode
from portico.settings_identity import SECRET_VARIABLES, KeystoneSettings

MAX_TOKEN = 8192


class KeystoneServer:
    """A Keystone, asked by whichever thread.

    Raises:
        SettingsError: the secret of the service user is not given, or cannot be read.
    """

    def __init__(self, settings: KeystoneSettings) -> None:
        self.url = settings.auth_url.rstrip("/").removesuffix("/v3") + "/v3"
        self._session = Session(
            auth=_own_credentials(self.url, settings),
            verify=settings.ca_file or True,
            timeout=settings.timeout_s,
            redirect=False,
            user_agent="portico",
        )
        # What they log at level debug has credentials in it, though hashed.
        for name in ("keystoneauth", "urllib3"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def validate(self, token: str, may_be_expired: bool) -> Token | None:
        """Return what Keystone says of a token; None: there is no such token.

        Raises:
            Unavailable: it gives no answer that can be understood, or will not answer Portico; says why.
        """
        if len(token) > MAX_TOKEN or not token.isascii() or not token.isprintable():
            return None
        try:
            answer = self._session.get(
                f"{self.url}/auth/tokens?nocatalog=1" + ("&allow_expired=1" if may_be_expired else ""),
                headers={"X-Subject-Token": token, "OpenStack-Identity-Access-Rules": "1.0"},
                authenticated=True,
                raise_exc=False,
                log=False,
            )
            if answer.status_code == 404:
                return None
            if answer.status_code == 200:
                return decode(answer.content)
            reason = f"it answers {answer.status_code}"
            if answer.status_code in (401, 403):
                reason += ": Portico's own user may not validate tokens"
        except (exceptions.Unauthorized, exceptions.Forbidden, exceptions.NotFound) as error:
            reason = f"Portico's own user cannot get a token: {error.http_status}"
        except exceptions.ClientException as error:
            reason = type(error).__name__
        except msgspec.MsgspecError as error:
            reason = f"its answer cannot be understood: {error}"
        raise Unavailable(f"Keystone at {self.url}: {reason}")


def _own_credentials(url: str, settings: KeystoneSettings) -> v3.Auth:
    password, secret = SECRET_VARIABLES
    if settings.application_credential_id:
        return v3.ApplicationCredential(
            url,
            application_credential_id=settings.application_credential_id,
            application_credential_secret=_secret("application_credential_secret_file", secret, settings),
        )
    return v3.Password(
        url,
        username=settings.username,
        password=_secret("password_file", password, settings),
        user_domain_name=settings.user_domain_name,
        project_name=settings.project_name,
        project_domain_name=settings.project_domain_name,
        include_catalog=False,
    )


def _secret(name: str, variable: str, settings: KeystoneSettings) -> str:
    path = getattr(settings, name)
    if not path:
        found = os.environ.get(variable)
        if not found:
            raise SettingsError(f"keystone.{name}: must be given, or the variable {variable}")
        return found
    try:
        return Path(path).read_text().strip("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"keystone.{name} = '{path}': {reason}") from error
