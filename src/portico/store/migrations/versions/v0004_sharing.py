# SPDX-License-Identifier: Apache-2.0
"""Who may use what belongs to another project; a domain of a port's own."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    policy = op.create_table(
        "rbac_policy",
        sa.Column("id", text(36), nullable=False),
        sa.Column("object_type", text(36), nullable=True),
        sa.Column("object_id", text(36), nullable=True),
        sa.Column("action", text(36), nullable=True),
        sa.Column("target_tenant", text(255), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "object_type",
            "object_id",
            "action",
            "target_tenant",
            name="uq_rbac_policy_object_type_object_id_action_target_tenant",
        ),
    )
    op.create_index("ix_rbac_policy_project_id", "rbac_policy", ["project_id"], unique=False)
    for resource in ("network", "subnetpool"):
        _share(policy, resource)
        with op.batch_alter_table(resource) as table:
            table.drop_column("shared")
    op.add_column("network", sa.Column("router:external", sa.Boolean(), nullable=True))
    op.add_column("port", sa.Column("dns_domain", text(255), nullable=True))


def _share(policy: sa.Table, resource: str) -> None:
    """Make a policy for every project of each object that was shared."""
    table = sa.table(resource, sa.column("id"), sa.column("project_id"), sa.column("shared", sa.Boolean))
    found = op.get_bind().execute(sa.select(table.c.id, table.c.project_id).where(table.c.shared)).all()
    rows = [
        {
            "id": str(uuid.uuid4()),
            "object_type": resource,
            "object_id": row.id,
            "action": "access_as_shared",
            "target_tenant": "*",
            "project_id": row.project_id,
        }
        for row in found
    ]
    if rows:
        op.bulk_insert(policy, rows)
