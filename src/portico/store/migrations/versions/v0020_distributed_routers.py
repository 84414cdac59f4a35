# SPDX-License-Identifier: Apache-2.0
"""Whether routers are to be on every host that needs them."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("router", sa.Column("distributed", sa.Boolean(), nullable=True))
