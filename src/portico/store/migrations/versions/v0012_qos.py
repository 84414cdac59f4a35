# SPDX-License-Identifier: Apache-2.0
"""QoS policies and their rules."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

RULES = {
    "bandwidth_limit_rule": ("max_kbps", "max_burst_kbps", "direction"),
    "dscp_marking_rule": ("dscp_mark",),
    "minimum_bandwidth_rule": ("min_kbps", "direction"),
    "packet_rate_limit_rule": ("max_kpps", "max_burst_kpps", "direction"),
}


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "policy",
        sa.Column("id", text(36), nullable=False),
        sa.Column("name", text(255), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("rules", sa.JSON(), nullable=True),
        sa.Column("is_default", sa.Boolean(), nullable=True),
        sa.Column("description", text(1024), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=True),
        sa.Column("revision_number", sa.Integer(), nullable=True),
        sa.Column("created_at", text(32), nullable=True),
        sa.Column("updated_at", text(32), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_policy_project_id", "policy", ["project_id"], unique=False)
    for name, attributes in RULES.items():
        op.create_table(
            name,
            sa.Column("id", text(36), nullable=False),
            sa.Column("qos_policy_id", text(36), nullable=True),
            *(sa.Column(one, text(8) if one == "direction" else sa.Integer(), nullable=True) for one in attributes),
            sa.PrimaryKeyConstraint("id"),
        )
        op.create_index(f"ix_{name}_qos_policy_id", name, ["qos_policy_id"], unique=False)
    for name in ("network", "port"):
        op.add_column(name, sa.Column("qos_policy_id", text(36), nullable=True))
        op.create_index(f"ix_{name}_qos_policy_id", name, ["qos_policy_id"], unique=False)
