# SPDX-License-Identifier: Apache-2.0
"""Address scopes and groups, default security group rules, service types of subnets."""

import time
import uuid

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
        sa.Column("description", text(1024), nullable=True),
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
    op.add_column("security_group_rule", sa.Column("belongs_to_default_sg", sa.Boolean(), nullable=True))
    _mark_default_groups()
    _make_default_rules()
    op.add_column("subnetpool", sa.Column("address_scope_id", text(36), nullable=True))
    op.create_index("ix_subnetpool_address_scope_id", "subnetpool", ["address_scope_id"], unique=False)
    op.add_column("subnet", sa.Column("service_types", sa.JSON(none_as_null=True), nullable=True))
    op.execute(sa.update(sa.table("subnet", sa.column("service_types", sa.JSON))).values(service_types=[]))


def _mark_default_groups() -> None:
    """Say of each rule whether its group is a project's default one."""
    group = sa.table("security_group", sa.column("id"), sa.column("name"))
    rule = sa.table(
        "security_group_rule", sa.column("security_group_id"), sa.column("belongs_to_default_sg", sa.Boolean)
    )
    default = sa.select(group.c.id).where(group.c.name == "default")
    op.execute(sa.update(rule).values(belongs_to_default_sg=rule.c.security_group_id.in_(default)))


def _make_default_rules() -> None:
    """Make the table of default rules, with those that new groups have had so far."""
    table = op.create_table(
        "default_security_group_rule",
        sa.Column("id", text(36), nullable=False),
        sa.Column("direction", text(16), nullable=True),
        sa.Column("ethertype", text(16), nullable=True),
        sa.Column("protocol", text(40), nullable=True),
        sa.Column("port_range_min", sa.Integer(), nullable=True),
        sa.Column("port_range_max", sa.Integer(), nullable=True),
        sa.Column("remote_ip_prefix", text(64), nullable=True),
        sa.Column("remote_group_id", text(36), nullable=True),
        sa.Column("remote_address_group_id", text(36), nullable=True),
        sa.Column("used_in_default_sg", sa.Boolean(), nullable=True),
        sa.Column("used_in_non_default_sg", sa.Boolean(), nullable=True),
        sa.Column("description", text(255), nullable=True),
        sa.Column("revision_number", sa.Integer(), nullable=True),
        sa.Column("created_at", text(32), nullable=True),
        sa.Column("updated_at", text(32), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_default_security_group_rule_remote_address_group_id",
        "default_security_group_rule",
        ["remote_address_group_id"],
        unique=False,
    )
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    rows = [
        {
            "id": str(uuid.uuid4()),
            "direction": direction,
            "ethertype": ethertype,
            "remote_group_id": remote,
            "used_in_default_sg": True,
            "used_in_non_default_sg": direction == "egress",
            "description": f"Legacy default SG rule for {direction} traffic",
            "revision_number": 0,
            "created_at": now,
            "updated_at": now,
        }
        for direction, remote in (("egress", None), ("ingress", "PARENT"))
        for ethertype in ("IPv4", "IPv6")
    ]
    op.bulk_insert(table, rows)
