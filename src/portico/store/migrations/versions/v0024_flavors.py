# SPDX-License-Identifier: Apache-2.0
"""Flavors, their service profiles, and with which of them routers were made."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "flavor",
        sa.Column("id", text(36), nullable=False),
        sa.Column("name", text(255), nullable=True),
        sa.Column("description", text(1024), nullable=True),
        sa.Column("service_type", text(36), nullable=True),
        sa.Column("service_profiles", sa.JSON(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "service_profile",
        sa.Column("id", text(36), nullable=False),
        sa.Column("description", text(1024), nullable=True),
        sa.Column("driver", text(1024), nullable=True),
        sa.Column("metainfo", text(4096), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column("router", sa.Column("flavor_id", text(36), nullable=True))
    op.create_index("ix_router_flavor_id", "router", ["flavor_id"], unique=False)
