# SPDX-License-Identifier: Apache-2.0
"""Metering labels, their rules, and what was counted."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "metering_label",
        sa.Column("id", text(36), nullable=False),
        sa.Column("name", text(255), nullable=True),
        sa.Column("description", text(1024), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("shared", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "metering_label_rule",
        sa.Column("id", text(36), nullable=False),
        sa.Column("metering_label_id", text(36), nullable=True),
        sa.Column("direction", text(16), nullable=True),
        sa.Column("excluded", sa.Boolean(), nullable=True),
        sa.Column("remote_ip_prefix", text(64), nullable=True),
        sa.Column("source_ip_prefix", text(64), nullable=True),
        sa.Column("destination_ip_prefix", text(64), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "metering_count",
        sa.Column("id", text(36), nullable=False),
        sa.Column("metering_label_id", text(36), nullable=True),
        sa.Column("router_id", text(36), nullable=True),
        sa.Column("host", text(255), nullable=True),
        sa.Column("packets", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", text(32), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("counter", text(32), nullable=True),
        sa.Column("last_packets", sa.BigInteger(), nullable=True),
        sa.Column("last_bytes", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "metering_label_id", "router_id", "host", name="uq_metering_count_metering_label_id_router_id_host"
        ),
    )
    for table, columns in {
        "metering_label": ("project_id",),
        "metering_label_rule": ("metering_label_id", "project_id"),
        "metering_count": ("metering_label_id", "router_id", "project_id"),
    }.items():
        for column in columns:
            op.create_index(f"ix_{table}_{column}", table, [column], unique=False)
