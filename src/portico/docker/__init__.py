# SPDX-License-Identifier: Apache-2.0
"""Docker's network and IPAM driver: the remote driver contract of libnetwork in terms of the Networking API.

May import `client`, `settings` and `errors`. It keeps no state of its own: what a network, pool or endpoint of
Docker is stands in the API (`record`), so that a plugin, an engine or a machine that starts again finds it.
"""
