# SPDX-License-Identifier: Apache-2.0
"""Which server is the only one that is to be told of commits."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "revision", sa.Column("only_listener", sa.String(32).with_variant(sa.String(32, collation="C"), "postgresql"))
    )
