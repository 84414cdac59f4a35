# SPDX-License-Identifier: Apache-2.0
"""Several bindings of a port, segments, and what a port says of its data plane."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("port", sa.Column("data_plane_status", text(16), nullable=True))
    op.add_column("port", sa.Column("propagate_uplink_status", sa.Boolean(), nullable=True))
    op.add_column("port", sa.Column("inactive_bindings", sa.JSON(none_as_null=True), nullable=True))
    op.execute(
        sa.update(sa.table("port", sa.column("propagate_uplink_status", sa.Boolean()))).values(
            propagate_uplink_status=True
        )
    )
    op.add_column("subnet", sa.Column("segment_id", text(36), nullable=True))
    segment = op.create_table(
        "segment",
        sa.Column("id", text(36), nullable=False),
        sa.Column("name", text(255), nullable=True),
        sa.Column("project_id", text(255), nullable=True),
        sa.Column("network_id", text(36), nullable=True),
        sa.Column("network_type", text(32), nullable=True),
        sa.Column("physical_network", text(64), nullable=True),
        sa.Column("segmentation_id", sa.Integer(), nullable=True),
        sa.Column("description", text(255), nullable=True),
        sa.Column("revision_number", sa.Integer(), nullable=True),
        sa.Column("created_at", text(32), nullable=True),
        sa.Column("updated_at", text(32), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("network_id", name="uq_segment_network_id"),
    )
    op.create_index("ix_segment_network_id", "segment", ["network_id"], unique=False)
    op.create_index("ix_segment_project_id", "segment", ["project_id"], unique=False)
    op.bulk_insert(segment, _segments())


def _segments() -> list[dict[str, object]]:
    """Return the segment of every network that there is."""
    same = ("project_id", "revision_number", "created_at", "updated_at")
    provider = ("network_type", "physical_network", "segmentation_id")
    columns: list[sa.ColumnElement[object]] = [sa.column("id").label("network_id"), *(sa.column(name) for name in same)]
    columns += [sa.column(f"provider:{name}").label(name) for name in provider]
    rows = op.get_bind().execute(sa.select(*columns).select_from(sa.table("network"))).mappings()
    return [{**row, "id": str(uuid.uuid4()), "description": ""} for row in rows]
