# SPDX-License-Identifier: Apache-2.0
"""NDP proxies, and whether routers have them at work."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "ndp_proxy",
        sa.Column("id", text(36), nullable=False),
        sa.Column("name", text(255), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("router_id", text(36), nullable=True),
        sa.Column("port_id", text(36), nullable=True),
        sa.Column("ip_address", text(64), nullable=True),
        sa.Column("description", text(1024), nullable=True),
        sa.Column("created_at", text(32), nullable=True),
        sa.Column("updated_at", text(32), nullable=True),
        sa.Column("revision_number", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("router_id", "ip_address", name="uq_ndp_proxy_router_id_ip_address"),
    )
    for column in ("project_id", "router_id", "port_id"):
        op.create_index(f"ix_ndp_proxy_{column}", "ndp_proxy", [column], unique=False)
    answers = sa.column("enable_ndp_proxy", sa.Boolean())
    op.add_column("router", sa.Column("enable_ndp_proxy", sa.Boolean(), nullable=True))
    op.execute(sa.update(sa.table("router", answers)).values({answers: False}))
