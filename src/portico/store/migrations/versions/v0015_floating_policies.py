# SPDX-License-Identifier: Apache-2.0
"""QoS policies of floating IPs."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    policy_id = sa.String(36).with_variant(sa.String(36, collation="C"), "postgresql")
    op.add_column("floatingip", sa.Column("qos_policy_id", policy_id, nullable=True))
    op.create_index("ix_floatingip_qos_policy_id", "floatingip", ["qos_policy_id"], unique=False)
