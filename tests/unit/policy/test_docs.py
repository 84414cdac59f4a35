# SPDX-License-Identifier: Apache-2.0
"""The operator's guide to policy says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portico.cli.main import main
from portico.model.resource import Registry
from portico.policy.policy import Policy, texts

GUIDE = Path(__file__).parents[3] / "docs" / "policy.md"


def example() -> str:
    (block,) = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return str(block)


def test_the_example_file_can_be_used(tmp_path: Path, registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(example())
    Policy(registry, file)
    assert main(["policy", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: can be used, 4 rules differ from the defaults\n"


def test_a_file_that_cannot_be_used_is_told_with_its_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("get_port: 'rule:nobody'\n")
    assert main(["policy", "check", str(file)]) == 1
    assert "get_port" in capsys.readouterr().err


def test_the_rules_in_force_are_printed_as_a_file_that_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, printed = tmp_path / "changed.yaml", tmp_path / "printed.yaml"
    changed.write_text(example())
    assert main(["policy", "show", "--policy-file", str(changed)]) == 0
    printed.write_text(capsys.readouterr().out)
    assert texts(printed) == texts(changed)
    assert main(["policy", "show", "get_agent"]) == 0
    assert capsys.readouterr().out == "get_agent: 'rule:admin_only'\n"
    assert main(["policy", "show", "get_nothing"]) == 1


def test_each_rule_that_the_guide_names_is_there() -> None:
    named = set(re.findall(r"`((?:portico:|create_|get_|update_|delete_)[a-z_]+(?::[a-z_]+)*)`", GUIDE.read_text()))
    assert named >= {"create_port", "portico:watch"}
    assert named <= set(texts(None)), named - set(texts(None))


def test_attributes_whose_change_has_a_rule_are_those_that_neutron_enforces(registry: Registry) -> None:
    for name in texts(None):
        rule, _, attribute = name.partition(":")
        _, _, resource = rule.partition("_")
        if attribute and resource in registry.resources:
            attributes = registry.resources[resource].attributes
            whole = attribute if attribute in attributes else attribute.partition(":")[0]
            # What is shown depends on a rule alone, in Neutron too: it hides resource_request, which nobody can give.
            assert attributes[whole].enforce_policy or (rule.startswith("get_") and not attributes[whole].allow_post), (
                name
            )
