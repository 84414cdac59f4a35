# SPDX-License-Identifier: Apache-2.0
"""Logs of security groups."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "log",
        sa.Column("id", text(36), nullable=False),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("name", text(255), nullable=True),
        sa.Column("resource_type", text(255), nullable=True),
        sa.Column("resource_id", text(36), nullable=True),
        sa.Column("event", text(16), nullable=True),
        sa.Column("target_id", text(36), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=True),
        sa.Column("description", text(255), nullable=True),
        sa.Column("created_at", text(32), nullable=True),
        sa.Column("updated_at", text(32), nullable=True),
        sa.Column("revision_number", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("project_id", "resource_id", "target_id"):
        op.create_index(f"ix_log_{column}", "log", [column], unique=False)
