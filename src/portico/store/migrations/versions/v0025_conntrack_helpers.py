# SPDX-License-Identifier: Apache-2.0
"""Conntrack helpers of routers."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "conntrack_helper",
        sa.Column("id", text(36), nullable=False),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("router_id", text(36), nullable=True),
        sa.Column("protocol", text(8), nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("helper", text(64), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "router_id", "protocol", "port", "helper", name="uq_conntrack_helper_router_id_protocol_port_helper"
        ),
    )
    for column in ("project_id", "router_id"):
        op.create_index(f"ix_conntrack_helper_{column}", "conntrack_helper", [column], unique=False)
