# SPDX-License-Identifier: Apache-2.0
"""Values in messages: any JSON value as text, never longer than a line, never an error of its own."""

from __future__ import annotations

from collections.abc import Sequence

# A message quotes at most so much of a value, and names at most so many objects.
MAX_SHOWN = 200
MAX_NAMED = 5


def show(value: object) -> str:
    """Return `value` as text for a message."""
    try:
        text = value if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):  # Python refuses to print integers beyond 4,300 digits
        return f"a {type(value).__name__} too large to print"
    if len(text) > MAX_SHOWN:
        text = f"{text[:MAX_SHOWN]}..."
    return text.encode("utf-8", "backslashreplace").decode()


def some(names: Sequence[str]) -> str:
    """Return the first of what is in the way for a message, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
