# SPDX-License-Identifier: Apache-2.0
"""Trunks."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "trunk",
        sa.Column("id", text(36), nullable=False),
        sa.Column("name", text(255), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("admin_state_up", sa.Boolean(), nullable=True),
        sa.Column("port_id", text(36), nullable=True),
        sa.Column("status", text(16), nullable=True),
        sa.Column("sub_ports", sa.JSON(), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=True),
        sa.Column("description", text(255), nullable=True),
        sa.Column("revision_number", sa.Integer(), nullable=True),
        sa.Column("created_at", text(32), nullable=True),
        sa.Column("updated_at", text(32), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("port_id", name="uq_trunk_port_id"),
    )
    op.create_index("ix_trunk_project_id", "trunk", ["project_id"], unique=False)
    op.create_index("ix_trunk_port_id", "trunk", ["port_id"], unique=False)
    op.add_column("port", sa.Column("trunk_id", text(36), nullable=True))
