# SPDX-License-Identifier: Apache-2.0
"""The `portico` command: collections from the registry, and the commands that run and look after Portico.

`portico --help` must be quick, so every command's module is imported when it is called and not before.
"""
