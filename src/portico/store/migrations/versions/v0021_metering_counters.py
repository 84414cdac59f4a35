# SPDX-License-Identifier: Apache-2.0
"""What several counters of a router on a host said last."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

OLD = (("counter", sa.String(32)), ("last_packets", sa.BigInteger()), ("last_bytes", sa.BigInteger()))


def upgrade() -> None:
    op.add_column("metering_count", sa.Column("told", sa.JSON(none_as_null=True), nullable=True))
    told = sa.column("told", sa.JSON(none_as_null=True))
    table = sa.table("metering_count", sa.column("id"), told, *(sa.column(name, kind) for name, kind in OLD))
    connection = op.get_bind()
    for row in connection.execute(sa.select(table)).all():
        said = {row.counter: [row.last_packets, row.last_bytes]}
        connection.execute(sa.update(table).where(table.c.id == row.id).values(told=said))
    for name, _ in OLD:
        op.drop_column("metering_count", name)
