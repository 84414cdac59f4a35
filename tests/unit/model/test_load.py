# SPDX-License-Identifier: Apache-2.0
import dataclasses
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from portico.errors import SettingsError
from portico.model.load import as_needed, load
from portico.model.resource import VERBS, Action, Attribute, Registry, Resource

BRIDGE = """
resource: tunnel
plural: tunnels
doc: A tunnel.
attributes:
  id: {primary_key: true, is_visible: true, column: string(36), doc: Its id.}
  port_id: {allow_post: true, validate: {'type:uuid': null}, column: string(36), references: port, doc: Its port.}
"""


def test_every_resource_and_attribute_is_documented(registry: Registry) -> None:
    for resource in registry.resources.values():
        assert resource.doc.endswith(".")
        for attribute in resource.attributes.values():
            assert attribute.doc, f"{resource.name}.{attribute.name}"


def test_the_core_collections_have_neutron_s_paths(registry: Registry) -> None:
    assert {resource.path for resource in registry.resources.values()} == {
        "/v2.0/address-groups",
        "/v2.0/address-scopes",
        "/v2.0/agents",
        "/v2.0/auto-allocated-topology",
        "/v2.0/availability_zones",
        "/v2.0/bgp-peers",
        "/v2.0/blocks",
        "/v2.0/bgp-speakers",
        "/v2.0/default-security-group-rules",
        "/v2.0/floatingip-pools",
        "/v2.0/flavors",
        "/v2.0/floatingips",
        "/v2.0/floatingips/{floatingip_id}/port_forwardings",
        "/v2.0/log/loggable-resources",
        "/v2.0/log/logs",
        "/v2.0/metering/metering-counts",
        "/v2.0/metering/metering-label-rules",
        "/v2.0/metering/metering-labels",
        "/v2.0/ndp_proxies",
        "/v2.0/network-ip-availabilities",
        "/v2.0/network_segment_ranges",
        "/v2.0/networks",
        "/v2.0/ports",
        "/v2.0/qos/policies",
        "/v2.0/qos/policies/{qos_policy_id}/bandwidth_limit_rules",
        "/v2.0/qos/policies/{qos_policy_id}/dscp_marking_rules",
        "/v2.0/qos/policies/{qos_policy_id}/minimum_bandwidth_rules",
        "/v2.0/qos/policies/{qos_policy_id}/minimum_packet_rate_rules",
        "/v2.0/qos/policies/{qos_policy_id}/packet_rate_limit_rules",
        "/v2.0/qos/rule-types",
        "/v2.0/quotas",
        "/v2.0/rbac-policies",
        "/v2.0/routers",
        "/v2.0/routers/{router_id}/conntrack_helpers",
        "/v2.0/security-group-rules",
        "/v2.0/security-groups",
        "/v2.0/segments",
        "/v2.0/service-providers",
        "/v2.0/service_profiles",
        "/v2.0/subnetpools",
        "/v2.0/subnets",
        "/v2.0/trunks",
    }
    assert registry.by_collection["security-groups"] is registry.resources["security_group"]


def test_attributes_of_extensions_that_are_not_advertised_do_not_exist(registry: Registry) -> None:
    advertised = {extension.alias for extension in registry.extensions} | {"core"}
    assert "l2_adjacency" not in registry.resources["network"].attributes
    assert "device_profile" not in registry.resources["port"].attributes
    for resource in registry.resources.values():
        for attribute in resource.attributes.values():
            assert attribute.extension in advertised


def test_what_an_object_is_stored_under_is_unambiguous(registry: Registry) -> None:
    for resource in registry.resources.values():
        columns = [attribute for attribute in resource.attributes.values() if attribute.column]
        keys = [attribute.name for attribute in columns if attribute.primary_key]
        assert len(keys) == (1 if columns else 0), resource.name
        assert set(resource.verbs) <= set(VERBS)


def test_a_plug_in_s_models_join_in_the_same_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "tunnel.yaml").write_text(BRIDGE)
    (tmp_path / "port.yaml").write_text(
        "resource: port\nattributes:\n"
        "  colour: {extension: colours, allow_post: true, default: red, doc: Its colour.}\n"
    )
    (tmp_path / "extensions.yaml").write_text(
        "extensions:\n"
        "  colours: {name: Colours, description: Ports have colours., updated: '2026-01-01T00:00:00-00:00'}\n"
        "advertised: [colours]\n"
    )
    registry = load([tmp_path])
    assert registry.by_collection["tunnels"].attributes["port_id"].required
    assert registry.resources["port"].attributes["colour"].default == "red"
    assert "colours" in {extension.alias for extension in registry.extensions}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("allow_post: true", "allow_posst: true", ["port_id", "allow_posst", "no such keyword"]),
        ("allow_post: true", "allow_post: 1", ["port_id", "allow_post", "true or false"]),
        ("type:uuid", "type:uid", ["port_id", "validate", "type:uid"]),
        ("validate: {'type:uuid': null}", "validate: uuid", ["port_id", "validate", "mapping"]),
        ("references: port", "references: prot", ["tunnel", "port_id", "references", "prot"]),
        ("string(36), references", "varchar, references", ["port_id", "column", "varchar"]),
        ("plural: tunnels", "plural: 5", ["tunnel", "plural"]),
        ("plural: tunnels", "plurals: tunnels", ["tunnel", "plurals"]),
        ("doc: A tunnel.", "doc: A tunnel.\nverbs: [make]", ["tunnel", "verbs", "make"]),
        ("doc: A tunnel.", "doc: A tunnel.\nunique: [[port]]", ["tunnel", "unique", "port"]),
        ("doc: A tunnel.", "doc: {", ["cannot be read"]),
        ("resource: tunnel", "resource: 7", ["resource: must be a name"]),
        ("allow_post: true", "convert_to: int, allow_post: true", ["port_id", "convert_to", "int"]),
        ("  id: {", "  id: [{", ["cannot be read"]),
        ("{'type:uuid': null}", "{'type:dict': {a: {'type:no': 1}}}", ["port_id", "key a", "type:no"]),
    ],
)
def test_a_malformed_model_stops_the_start_and_says_where(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    path = tmp_path / "tunnel.yaml"
    assert old in BRIDGE
    path.write_text(BRIDGE.replace(old, new, 1))
    with pytest.raises(SettingsError) as caught:
        load([tmp_path])
    for word in words:
        assert word in caught.value.message
    assert "references" in words or str(path) in caught.value.message


def plain(value: object) -> object:
    """Return what can be compared: resources and their parts are equal only to themselves."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, Resource | Attribute | Action):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def test_a_resource_that_is_read_when_it_is_needed_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "tunnel.yaml").write_text(BRIDGE)
    # No plain line tells of which resource this is.
    colour = "{extension: core, allow_post: true, default: red, doc: Its colour.}"
    (tmp_path / "colours.yaml").write_text(f'{{"resource": port, "attributes": {{"colour": {colour}}}}}')
    whole, needed = load([tmp_path]).resources, as_needed([tmp_path])
    assert set(needed) == set(whole) and "prot" not in needed
    for name in whole:
        assert plain(needed[name]) == plain(whole[name]), name
    assert needed["port"].attributes["colour"].default == "red"
    assert needed["port"] is needed["port"]


def test_only_what_is_needed_is_read(tmp_path: Path) -> None:
    (tmp_path / "tunnel.yaml").write_text(BRIDGE.replace("doc: A tunnel.", "doc: {"))
    needed = as_needed([tmp_path])
    assert needed["network"].plural == "networks"
    with pytest.raises(SettingsError, match="cannot be read"):
        needed["tunnel"]
    # Nothing is kept from one process, or one call, to the next.
    (tmp_path / "tunnel.yaml").write_text(BRIDGE)
    assert as_needed([tmp_path])["tunnel"].plural == "tunnels"


def test_an_extension_that_is_not_described_cannot_be_advertised(tmp_path: Path) -> None:
    (tmp_path / "extensions.yaml").write_text("advertised: [no-such]\n")
    with pytest.raises(SettingsError, match="no-such"):
        load([tmp_path])


def test_loading_is_quick() -> None:
    """About 60 ms of the processor; the bound only catches an order of magnitude."""
    best = 1.0
    for _ in range(5):
        started = time.process_time()
        load()
        best = min(best, time.process_time() - started)
    assert best < 0.2


def test_neutron_lib_is_never_imported_at_run_time() -> None:
    program = "import sys; from portico.model import check, load; load.load(); print('neutron_lib' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
