# SPDX-License-Identifier: Apache-2.0
"""Blocks of addresses that belong to hosts."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "block",
        sa.Column("id", text(36), nullable=False),
        sa.Column("host", text(255), nullable=True),
        sa.Column("cidr", text(64), nullable=True),
        sa.Column("subnet_id", text(36), nullable=True),
        sa.Column("network_id", text(36), nullable=True),
        sa.Column("first", text(32), nullable=True),
        sa.Column("last", text(32), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("subnet_id", "cidr", name="uq_block_subnet_id_cidr"),
    )
    for name in ("subnet_id", "network_id"):
        op.create_index(f"ix_block_{name}", "block", [name], unique=False)
