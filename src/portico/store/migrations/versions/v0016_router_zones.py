# SPDX-License-Identifier: Apache-2.0
"""Availability zones of routers."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    hints = sa.column("availability_zone_hints", sa.JSON(none_as_null=True))
    op.add_column("router", sa.Column("availability_zone_hints", sa.JSON(none_as_null=True), nullable=True))
    op.execute(sa.update(sa.table("router", hints)).values({hints: []}))
