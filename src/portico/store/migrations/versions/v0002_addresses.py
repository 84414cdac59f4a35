# SPDX-License-Identifier: Apache-2.0
"""Address scopes and groups, default security group rules, service types of subnets."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "address_scope",
        sa.Column("id", text(36), nullable=False),
        sa.Column("name", text(255), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("ip_version", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_address_scope_project_id", "address_scope", ["project_id"], unique=False)
    op.create_table(
        "address_group",
        sa.Column("id", text(36), nullable=False),
        sa.Column("name", text(255), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("addresses", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("description", text(255), nullable=True),
        sa.Column("revision_number", sa.Integer(), nullable=True),
        sa.Column("created_at", text(32), nullable=True),
        sa.Column("updated_at", text(32), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_address_group_project_id", "address_group", ["project_id"], unique=False)
    op.add_column("security_group_rule", sa.Column("remote_address_group_id", text(36), nullable=True))
    op.create_index(
        "ix_security_group_rule_remote_address_group_id",
        "security_group_rule",
        ["remote_address_group_id"],
        unique=False,
    )
    op.add_column("subnetpool", sa.Column("address_scope_id", text(36), nullable=True))
    op.create_index("ix_subnetpool_address_scope_id", "subnetpool", ["address_scope_id"], unique=False)
