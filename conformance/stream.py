# SPDX-License-Identifier: Apache-2.0
"""Turns a subunit stream on standard input into lines of JSON, one for each test as it ends.

This runs in the environment of the tests, which has subunit; everything else of this folder runs in Portico's.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from subunit import ByteStreamToStreamResult
from testtools import StreamToDict


def ended(test: dict[str, Any]) -> None:
    """Print one test: its id, its status, its seconds, and what it said."""
    if test["status"] == "exists":  # it is about to be run
        return
    first, last = test["timestamps"]
    line = {
        "id": test["id"],
        "status": test["status"],
        "seconds": (last - first).total_seconds() if first and last else 0.0,
        "details": {name: content.as_text() for name, content in test["details"].items() if name in WANTED},
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


WANTED = ("reason", "traceback")


def main() -> None:
    """Read the stream to its end."""
    result = StreamToDict(ended)
    result.startTestRun()
    ByteStreamToStreamResult(sys.stdin.buffer, non_subunit_name="stdout").run(result)
    result.stopTestRun()


if __name__ == "__main__":
    main()
