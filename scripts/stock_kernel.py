# SPDX-License-Identifier: Apache-2.0
"""`python scripts/stock_kernel.py [--timeout-s N] -- PYTEST ARGUMENTS`: run tests under Debian's stock kernel.

Needs root, qemu-system-x86 and a kernel package (linux-image-amd64). The exit code is pytest's.
"""

from __future__ import annotations

import argparse
import sys

from portico.testing.lab import NotReady, stock_kernel

HOUR_S = 3600


def main() -> int:
    """Run pytest in the virtual machine; 2 when the machine itself failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeout-s", type=float, default=HOUR_S)
    parser.add_argument("arguments", nargs="+", help="what pytest gets")
    options = parser.parse_args()
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options.arguments]
    try:
        return stock_kernel.run(argv, timeout_s=options.timeout_s)
    except (NotReady, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
