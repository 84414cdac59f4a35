# SPDX-License-Identifier: Apache-2.0
"""Rules of QoS policies that say how many packets a second a port is to have at least."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "minimum_packet_rate_rule",
        sa.Column("id", text(36), nullable=False),
        sa.Column("qos_policy_id", text(36), nullable=True),
        sa.Column("min_kpps", sa.Integer(), nullable=True),
        sa.Column("direction", text(8), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_minimum_packet_rate_rule_qos_policy_id", "minimum_packet_rate_rule", ["qos_policy_id"])
