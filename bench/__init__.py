# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: each measures Portico and something real in one interleaved run. `make bench` prints the table."""
