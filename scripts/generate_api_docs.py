# SPDX-License-Identifier: Apache-2.0
"""Write docs/api/ from the models.

python scripts/generate_api_docs.py
"""

from __future__ import annotations

from pathlib import Path

from portico.model.load import load
from portico.model.reference import pages

DOCS = Path(__file__).parents[1] / "docs" / "api"

if __name__ == "__main__":
    DOCS.mkdir(parents=True, exist_ok=True)
    for name, text in pages(load()).items():
        (DOCS / name).write_text(text)
