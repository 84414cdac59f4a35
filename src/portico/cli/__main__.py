# SPDX-License-Identifier: Apache-2.0
"""`python -m portico.cli`: how `portico up` starts its children, wherever Portico is installed."""

import sys

from portico.cli.main import main

sys.exit(main())
