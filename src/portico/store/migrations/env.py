# SPDX-License-Identifier: Apache-2.0
"""Alembic's entry: the caller gives a connection with a transaction, and the tables."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    render_as_batch=True,
)
context.run_migrations()
