# SPDX-License-Identifier: Apache-2.0
"""What new objects begin with, for those that were there before the attribute."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for resource, attribute, value in (("network", "router:external", False), ("port", "dns_domain", "")):
        column = sa.column(attribute, sa.Boolean() if isinstance(value, bool) else sa.String())
        op.execute(sa.update(sa.table(resource, column)).where(column.is_(None)).values({column: value}))
