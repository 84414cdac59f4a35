# SPDX-License-Identifier: Apache-2.0
"""Settings of the neutron backend: which remote, and as whom. docs/neutron-backend.md explains them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class NeutronSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The remote OpenStack Networking service of the neutron backend."""

    cloud: Annotated[
        str, Meta(description="cloud of clouds.yaml that has the remote Networking service; empty: the settings below")
    ] = ""
    clouds_file: Annotated[
        str, Meta(description="the clouds.yaml; empty: where OpenStack's clients look for one (openstacksdk's manual)")
    ] = ""
    auth_url: Annotated[str, Meta(description="its Keystone's URL, with /v3; empty: it has none")] = ""
    endpoint: Annotated[
        str, Meta(description="the Networking service's URL, without /v2.0; empty: the one of Keystone's catalog")
    ] = ""
    username: Annotated[
        str, Meta(description="Portico's user there, with the role admin or service; without auth_url, of HTTP basic")
    ] = ""
    password_file: Annotated[str, Meta(description="file that holds the user's password")] = ""
    project_name: Annotated[str, Meta(description="project that Portico's networks belong to there")] = ""
    user_domain_name: Annotated[str, Meta(description="domain of the user")] = "Default"
    project_domain_name: Annotated[str, Meta(description="domain of the project")] = "Default"
    region: Annotated[str, Meta(description="region of the catalog; empty: any")] = ""
    ca_file: Annotated[
        str, Meta(description="certificates that the remote's may be signed by; empty: the system's")
    ] = ""
    timeout_s: Annotated[float, Meta(gt=0, description="seconds that the remote has for an answer")] = 10
    poll_s: Annotated[float, Meta(ge=1, description="seconds between two looks at what has changed there")] = 2
    tag: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9_.-]{1,20}$",
            description="sign of what is Portico's there: tag and description are TAG:ID; one for each Portico",
        ),
    ] = "portico"
    overhead: Annotated[
        int, Meta(ge=0, le=500, description="bytes of encapsulation there: an MTU of 1500 less is what it carries")
    ] = 58
    send_profile: Annotated[
        bool, Meta(description="whether binding:profile goes along: needs the role service; what a Portico there wants")
    ] = False
