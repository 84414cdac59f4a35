# SPDX-License-Identifier: Apache-2.0
"""The agent's hands: one module per kind of kernel object. Each class is a `portico.agent.delta.Driver`."""
