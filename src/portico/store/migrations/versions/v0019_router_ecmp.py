# SPDX-License-Identifier: Apache-2.0
"""Whether routers spread connections over their gateways."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    spreads = sa.column("enable_default_route_ecmp", sa.Boolean())
    op.add_column("router", sa.Column("enable_default_route_ecmp", sa.Boolean(), nullable=True))
    op.execute(sa.update(sa.table("router", spreads)).values({spreads: False}))
