# SPDX-License-Identifier: Apache-2.0
"""Each network names the backend that realises it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
    op.add_column("network", sa.Column("portico:backend", column, nullable=True))
    # Networks of any other type were a backend's from another package, whose name is not known here: the API chooses
    # it by the type when it starts.
    backend, kind = sa.column("portico:backend", sa.String()), sa.column("provider:network_type", sa.String())
    op.execute(sa.update(sa.table("network", backend, kind)).where(kind == "local").values({backend: "bridge"}))
