# SPDX-License-Identifier: Apache-2.0
"""Resources as data. May import nothing of Portico but `errors`."""
