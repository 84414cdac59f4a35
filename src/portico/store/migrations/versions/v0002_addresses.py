# SPDX-License-Identifier: Apache-2.0
"""Address scopes and groups, default security group rules, service types of subnets."""

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
