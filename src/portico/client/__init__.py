# SPDX-License-Identifier: Apache-2.0
"""The API from the other side: what the commands, the agent and the Docker plugin speak with it."""

from portico.client.client import Client, singular
from portico.client.connection import Access

__all__ = ["Access", "Client", "singular"]
