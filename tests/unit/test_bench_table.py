# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bench.figure import Figure, table


def test_figures_of_several_databases_have_a_column_for_each() -> None:
    figures = [
        Figure("show", 1.0, "ms", at_most=3, database="SQLite"),
        Figure("given twice", 0, "", at_most=0, database="SQLite"),
        Figure("show", 2.0, "ms", database="PostgreSQL"),
        Figure("given twice", 1, "", at_most=0, database="PostgreSQL"),
        Figure("one writer", 0.7, "x", at_least=0.5, beside="SQLite"),
    ]
    assert table(figures).splitlines() == [
        "| what | SQLite | PostgreSQL | bound | met | beside |",
        "|---|---:|---:|---:|---|---|",
        "| show | 1 ms | 2 ms | <= 3 (not PostgreSQL) | yes |  |",
        "| given twice | 0  | 1  | <= 0 | **no** |  |",
        "",
        "| what | measured | bound | met | beside |",
        "|---|---:|---:|---|---|",
        "| one writer | 0.7 x | >= 0.5 | yes | SQLite |",
    ]
