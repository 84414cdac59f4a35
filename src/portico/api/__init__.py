# SPDX-License-Identifier: Apache-2.0
"""The Networking API over HTTP. May import `rules`, `store`, `broker`, `contract`, `hoststate`, `model`, `errors`."""
