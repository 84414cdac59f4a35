# SPDX-License-Identifier: Apache-2.0
"""One folder for each kind of network.

A backend imports `contract`, `hoststate` and `model`; never another backend, the store, the API or the agent.
"""
