# SPDX-License-Identifier: Apache-2.0
"""Network segment ranges."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "network_segment_range",
        sa.Column("id", text(36), nullable=False),
        sa.Column("name", text(255), nullable=True),
        sa.Column("default", sa.Boolean(), nullable=True),
        sa.Column("shared", sa.Boolean(), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("network_type", text(32), nullable=True),
        sa.Column("physical_network", text(64), nullable=True),
        sa.Column("minimum", sa.Integer(), nullable=True),
        sa.Column("maximum", sa.Integer(), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=True),
        sa.Column("description", text(255), nullable=True),
        sa.Column("revision_number", sa.Integer(), nullable=True),
        sa.Column("created_at", text(32), nullable=True),
        sa.Column("updated_at", text(32), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_network_segment_range_project_id", "network_segment_range", ["project_id"], unique=False)
