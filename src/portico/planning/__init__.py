# SPDX-License-Identifier: Apache-2.0
"""What the plans of backends have in common: from the objects as they are wanted to what each host must have. Pure.

May import what `contract` may.
"""

from portico.planning import bgp, floating, gateways, logs, metering, ndp, ports, qos, reach, related, routers

__all__ = ["bgp", "floating", "gateways", "logs", "metering", "ndp", "ports", "qos", "reach", "related", "routers"]
