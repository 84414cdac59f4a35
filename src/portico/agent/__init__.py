# SPDX-License-Identifier: Apache-2.0
"""The host agent: makes this host's kernel equal to the wanted state that the broker sends, and says what became of it.

May import `errors` and `hoststate`; nothing else of Portico. Only `drivers` and `kernel` touch the kernel.
"""
