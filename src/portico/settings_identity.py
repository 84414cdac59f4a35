# SPDX-License-Identifier: Apache-2.0
"""Settings that say how the API knows who asks, and how TCP is kept secret. docs/identity.md explains them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

# What has no setting, because settings are printed and are options of the command line.
SECRET_VARIABLES = ("PORTICO_KEYSTONE_PASSWORD", "PORTICO_KEYSTONE_APPLICATION_CREDENTIAL_SECRET")


class HttpBasicSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Users with a password: of auth `http_basic`, and beside those of Keystone for agents of other hosts."""

    file: Annotated[
        str, Meta(description="htpasswd file with bcrypt hashes (`htpasswd -B`), read anew when it changes")
    ] = ""
    admins: Annotated[
        tuple[str, ...], Meta(description="users who are administrators; others are members of a project of their name")
    ] = ()


class KeystoneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where auth `keystone` asks about tokens, and as whom."""

    auth_url: Annotated[str, Meta(description="Keystone's URL, with /v3")] = ""
    public_url: Annotated[str, Meta(description="its URL for clients, which 401 names; empty: auth_url")] = ""
    username: Annotated[str, Meta(description="Portico's own user there")] = "portico"
    password_file: Annotated[
        str, Meta(description="file that holds the user's password; empty: the variable PORTICO_KEYSTONE_PASSWORD")
    ] = ""
    project_name: Annotated[str, Meta(description="project of Portico's own user")] = "service"
    user_domain_name: Annotated[str, Meta(description="domain of Portico's own user")] = "Default"
    project_domain_name: Annotated[str, Meta(description="domain of its project")] = "Default"
    application_credential_id: Annotated[
        str, Meta(description="application credential to use instead of a password")
    ] = ""
    application_credential_secret_file: Annotated[
        str,
        Meta(description="file that holds its secret; empty: PORTICO_KEYSTONE_APPLICATION_CREDENTIAL_SECRET"),
    ] = ""
    ca_file: Annotated[str, Meta(description="certificates that Keystone's may be signed by; empty: the system's")] = ""
    cache_s: Annotated[float, Meta(ge=0, le=60, description="seconds for which an answer about a token is good")] = 45
    outage_s: Annotated[
        float, Meta(ge=0, description="seconds for which known tokens stay good while Keystone does not answer")
    ] = 300
    timeout_s: Annotated[float, Meta(gt=0, description="seconds that Keystone has for an answer")] = 5
    service_roles: Annotated[
        tuple[str, ...], Meta(description="roles of services whose X-Service-Token lets expired user tokens through")
    ] = ("service",)


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TLS of the addresses in `listen` that are no unix sockets. Read anew on SIGHUP."""

    certificate: Annotated[str, Meta(description="file with the certificate and those between it and the root")] = ""
    key: Annotated[str, Meta(description="file with its private key")] = ""
    client_ca: Annotated[
        str, Meta(description="certificates that clients' must be signed by; empty: clients need none")
    ] = ""
