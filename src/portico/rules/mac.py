# SPDX-License-Identifier: Apache-2.0
"""MAC addresses."""

from __future__ import annotations

import secrets


def generate(base: str) -> str:
    """Return a random MAC address under `base`, its first three octets, e.g. `fa:16:3e`."""
    return base + "".join(f":{octet:02x}" for octet in secrets.token_bytes(3))
