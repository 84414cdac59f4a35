# SPDX-License-Identifier: Apache-2.0
"""Settings that say which backend realises a network. docs/backends.md explains them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What chooses the backend of a network that names none."""

    types: Annotated[
        dict[str, str],
        Meta(description="backend of each provider:network_type; of others the first backend that has the type"),
    ] = {}
    projects: Annotated[
        dict[str, str],
        Meta(
            description="backends of each project, with spaces between: the first that a host can have realises those "
            "of its networks that name neither type nor backend, and its members may choose among all of them"
        ),
    ] = {}
