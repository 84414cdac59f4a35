# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from portico.model.reference import pages
from portico.model.resource import Registry

DOCS = Path(__file__).parents[3] / "docs" / "api"


def test_the_reference_in_docs_is_what_the_models_say(registry: Registry) -> None:
    written = {path.name: path.read_text() for path in DOCS.glob("*.md")}
    wanted = pages(registry)
    assert written.keys() == wanted.keys()
    for name, text in wanted.items():
        assert written[name] == text, f"docs/api/{name} is not what scripts/generate_api_docs.py writes"


def test_a_page_names_every_attribute_and_verb(registry: Registry) -> None:
    page = pages(registry)["security_group_rule.md"]
    for name in registry.resources["security_group_rule"].attributes:
        assert f"| `{name}` |" in page
    assert "`POST /v2.0/security-group-rules`" in page
    assert "PUT" not in page
