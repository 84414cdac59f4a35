# SPDX-License-Identifier: Apache-2.0
"""`make demo`: containers and a virtual machine on Portico networks, and a table of who reaches whom."""
