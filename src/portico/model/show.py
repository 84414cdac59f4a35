# SPDX-License-Identifier: Apache-2.0
"""Values in messages: any JSON value as text, never longer than a line, never an error of its own."""

from __future__ import annotations

# A message quotes at most so much of a value.
MAX_SHOWN = 200


def show(value: object) -> str:
    """Return `value` as text for a message."""
    try:
        text = value if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):  # Python refuses to print integers beyond 4,300 digits
        return f"a {type(value).__name__} too large to print"
    if len(text) > MAX_SHOWN:
        text = f"{text[:MAX_SHOWN]}..."
    return text.encode("utf-8", "backslashreplace").decode()
