# SPDX-License-Identifier: Apache-2.0
"""Floating IPs and port forwardings."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "floatingip",
        sa.Column("id", text(36), nullable=False),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("floating_network_id", text(36), nullable=True),
        sa.Column("floating_ip_address", text(64), nullable=True),
        sa.Column("port_id", text(36), nullable=True),
        sa.Column("fixed_ip_address", text(64), nullable=True),
        sa.Column("router_id", text(36), nullable=True),
        sa.Column("status", text(16), nullable=True),
        sa.Column("dns_name", text(255), nullable=True),
        sa.Column("dns_domain", text(255), nullable=True),
        sa.Column("description", text(255), nullable=True),
        sa.Column("revision_number", sa.Integer(), nullable=True),
        sa.Column("created_at", text(32), nullable=True),
        sa.Column("updated_at", text(32), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "floating_network_id",
            "port_id",
            "fixed_ip_address",
            name="uq_floatingip_floating_network_id_port_id_fixed_ip_address",
        ),
    )
    for name in ("project_id", "floating_network_id", "port_id", "router_id"):
        op.create_index(f"ix_floatingip_{name}", "floatingip", [name], unique=False)
    op.create_table(
        "port_forwarding",
        sa.Column("id", text(36), nullable=False),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("floatingip_id", text(36), nullable=True),
        sa.Column("protocol", text(8), nullable=True),
        sa.Column("external_port", sa.Integer(), nullable=True),
        sa.Column("external_port_range", text(11), nullable=True),
        sa.Column("internal_port_id", text(36), nullable=True),
        sa.Column("internal_ip_address", text(64), nullable=True),
        sa.Column("internal_port", sa.Integer(), nullable=True),
        sa.Column("internal_port_range", text(11), nullable=True),
        sa.Column("description", text(1024), nullable=True),
        sa.Column("portico:host_addresses", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    for name in ("project_id", "floatingip_id", "internal_port_id"):
        op.create_index(f"ix_port_forwarding_{name}", "port_forwarding", [name], unique=False)
