# SPDX-License-Identifier: Apache-2.0
"""Automatic topologies of projects, and the external network that they lead to."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("network", sa.Column("is_default", sa.Boolean(), nullable=True))
    column = sa.column("is_default", sa.Boolean())
    op.execute(sa.update(sa.table("network", column)).values({column: False}))
    op.create_table(
        "auto_allocated_topology",
        sa.Column("id", text(36), nullable=False),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("router_id", text(36), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    for name in ("project_id", "router_id"):
        op.create_index(f"ix_auto_allocated_topology_{name}", "auto_allocated_topology", [name], unique=False)
