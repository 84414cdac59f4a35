# SPDX-License-Identifier: Apache-2.0
"""May a packet be delivered, given what is wanted, and which rule, route or missing piece decides it? Pure.

`way` judges a packet hop by hop; conformance suites hold backends to it, and `portico trace` tells it to people.
"""
