# SPDX-License-Identifier: Apache-2.0
"""Portico: one network API for every workload."""

__version__ = "0.1.0"
