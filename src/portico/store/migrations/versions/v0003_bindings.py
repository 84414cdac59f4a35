# SPDX-License-Identifier: Apache-2.0
"""Several bindings of a port, segments, and what a port says of its data plane."""

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
