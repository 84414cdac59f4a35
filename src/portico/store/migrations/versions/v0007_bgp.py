# SPDX-License-Identifier: Apache-2.0
"""BGP speakers and peers."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "bgp_peer",
        sa.Column("id", text(36), nullable=False),
        sa.Column("name", text(255), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("peer_ip", text(64), nullable=True),
        sa.Column("remote_as", sa.BigInteger(), nullable=True),
        sa.Column("auth_type", text(16), nullable=True),
        sa.Column("password", text(255), nullable=True),
        sa.Column("portico:bfd", sa.Boolean(), nullable=True),
        sa.Column("portico:hosts", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_bgp_peer_project_id", "bgp_peer", ["project_id"], unique=False)
    op.create_table(
        "bgp_speaker",
        sa.Column("id", text(36), nullable=False),
        sa.Column("name", text(255), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("local_as", sa.BigInteger(), nullable=True),
        sa.Column("ip_version", sa.Integer(), nullable=True),
        sa.Column("peers", sa.JSON(), nullable=True),
        sa.Column("networks", sa.JSON(), nullable=True),
        sa.Column("advertise_tenant_networks", sa.Boolean(), nullable=True),
        sa.Column("advertise_floating_ip_host_routes", sa.Boolean(), nullable=True),
        sa.Column("portico:mode", text(32), nullable=True),
        sa.Column("portico:reflectors", sa.JSON(), nullable=True),
        sa.Column("portico:excluded_hosts", sa.JSON(), nullable=True),
        sa.Column("portico:bfd", sa.Boolean(), nullable=True),
        sa.Column("portico:graceful_restart", sa.Boolean(), nullable=True),
        sa.Column("portico:communities", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_bgp_speaker_project_id", "bgp_speaker", ["project_id"], unique=False)
