# SPDX-License-Identifier: Apache-2.0
"""TLS of the addresses in `listen` that are no unix sockets."""

from __future__ import annotations

import logging
import ssl

from portico.errors import SettingsError
from portico.settings_identity import TlsSettings

LOG = logging.getLogger(__name__)


class Tls:
    """The certificate that clients are shown, from files that may be replaced by newer ones.

    Whose certificates clients must have is read once: OpenSSL adds authorities to those it has, and forgets none.

    Raises:
        SettingsError: names the file and what is wrong with it.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self.context = _context(settings)

    def renew(self) -> None:
        """Show new connections what the files hold now; when that is no certificate with its key, the one before."""
        try:
            # A context that failed half-way would show the new certificate with the old key.
            _context(self._settings)
            self.context.load_cert_chain(self._settings.certificate, self._settings.key, _no_passphrase)
        except (SettingsError, OSError) as error:
            LOG.error("the certificate stays as it was: %s", error)  # noqa: TRY400 (the message says all)
        else:
            LOG.info("new connections are shown the certificate that %s holds now", self._settings.certificate)


def _context(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key, _no_passphrase)
    except (OSError, ValueError) as error:
        pair = f"tls.certificate = '{settings.certificate}', tls.key = '{settings.key}'"
        raise SettingsError(f"{pair}: {_reason(error)}") from error
    if settings.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(settings.client_ca)
        except (OSError, ValueError) as error:
            raise SettingsError(f"tls.client_ca = '{settings.client_ca}': {_reason(error)}") from error
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        words = (error.reason or "").replace("_", " ").lower()
        return words or "is not PEM of that kind"
    return getattr(error, "strerror", None) or str(error)


def _no_passphrase() -> str:
    # OpenSSL would ask the terminal for one.
    raise ValueError("the key has a passphrase, which nobody could type in at a start")
