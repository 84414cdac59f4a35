# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from portico.model.converters import CONVERTERS
from portico.model.load import MODELS, load
from portico.model.network_validators import VALIDATORS

ROOT = Path(__file__).parents[3]

# Validators and converters of extensions that are not done; their data waits for the part that needs it.
NOT_YET = {"type:network_segments", "convert_to_mac_if_none", "convert_kvp_list_to_dict"}
# What a rule checks, because Neutron's error has a type of its own.
BY_RULES = {"type:service_plugin_type"}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_models", ROOT / "scripts" / "generate_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_checked_in_models_equal_the_installed_neutron_lib(generator: ModuleType) -> None:
    checked_in = {path.name: path.read_text() for path in (MODELS / "neutron").glob("*.yaml")}
    rendered = generator.render()
    assert checked_in.keys() == rendered.keys()
    for name, text in rendered.items():
        assert checked_in[name] == text, f"{name} is not what scripts/generate_models.py writes"


def test_an_attribute_s_keywords_in_the_registry_are_neutron_lib_s() -> None:
    from neutron_lib import constants
    from neutron_lib.api.definitions import network, port, subnet, subnetpool

    resources = load().resources
    for module in (network, subnet, subnetpool):
        for name, spec in module.RESOURCE_ATTRIBUTE_MAP[module.COLLECTION_NAME].items():
            ours = resources[module.RESOURCE_NAME].attributes["project_id" if name == "tenant_id" else name]
            for keyword in ("allow_post", "allow_put", "is_visible", "is_filter", "is_sort_key", "enforce_policy"):
                assert getattr(ours, keyword) == spec.get(keyword, False), (module.RESOURCE_NAME, name, keyword)
            default = spec.get("default", constants.ATTR_NOT_SPECIFIED)
            assert ours.has_default == (default is not constants.ATTR_NOT_SPECIFIED)
            assert dict(ours.validate) == spec.get("validate", {})
            assert (ours.convert_to and ours.convert_to.__name__) == (
                spec["convert_to"].__name__ if "convert_to" in spec else None
            )
    assert port.RESOURCE_ATTRIBUTE_MAP["ports"].keys() - {"tenant_id"} <= resources["port"].attributes.keys()


def test_the_vocabulary_is_closed_and_ours_covers_it() -> None:
    from neutron_lib.api.definitions.base import KNOWN_KEYWORDS

    from portico.model.vocabulary import NEUTRON_KEYWORDS

    assert set(KNOWN_KEYWORDS) == NEUTRON_KEYWORDS

    class Reader(yaml.SafeLoader):
        pass

    Reader.add_constructor("!unset", lambda _reader, _node: None)
    rules, functions = set(), set()
    for path in (MODELS / "neutron").glob("*.yaml"):
        document = yaml.load(path.read_text(), Reader)  # noqa: S506 (a safe loader)
        for attributes in document.get("extensions", {}).values():
            for spec in attributes.values():
                assert spec.keys() <= NEUTRON_KEYWORDS
                rules |= spec.get("validate", {}).keys()
                functions |= {spec[keyword] for keyword in ("convert_to", "convert_list_to") if keyword in spec}
    assert rules - VALIDATORS.keys() - NOT_YET - BY_RULES == set()
    assert functions - CONVERTERS.keys() - NOT_YET == set()
    assert rules, "the walk found no rule at all"
