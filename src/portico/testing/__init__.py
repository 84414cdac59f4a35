# SPDX-License-Identifier: Apache-2.0
"""What tests are built from, shipped so that backends and services outside this repository can use it too."""
