# SPDX-License-Identifier: Apache-2.0
"""Who may use what belongs to another project."""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
