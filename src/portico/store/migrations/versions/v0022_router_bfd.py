# SPDX-License-Identifier: Apache-2.0
"""Whether routers watch the next hops of their gateways."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    watches = sa.column("enable_default_route_bfd", sa.Boolean())
    op.add_column("router", sa.Column("enable_default_route_bfd", sa.Boolean(), nullable=True))
    op.execute(sa.update(sa.table("router", watches)).values({watches: False}))
