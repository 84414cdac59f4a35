# SPDX-License-Identifier: Apache-2.0
"""Several bindings of a port, segments, and what a port says of its data plane."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("port", sa.Column("data_plane_status", text(16), nullable=True))
    op.add_column("port", sa.Column("propagate_uplink_status", sa.Boolean(), nullable=True))
    op.add_column("port", sa.Column("inactive_bindings", sa.JSON(none_as_null=True), nullable=True))
    op.execute(
        sa.update(sa.table("port", sa.column("propagate_uplink_status", sa.Boolean()))).values(
            propagate_uplink_status=True
        )
    )
