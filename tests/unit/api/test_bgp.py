# SPDX-License-Identifier: Apache-2.0
"""BGP speakers and peers through HTTP."""

from __future__ import annotations

import json

from .asker import Asker

SPEAKER = {"local_as": "4200000000", "ip_version": 4, "name": "racks"}
PEER = {"remote_as": 65001, "peer_ip": "2001:DB8::1", "auth_type": "md5", "password": "not-to-be-told"}


def test_a_speaker_speaks_with_peers_and_announces_networks(api: Asker) -> None:
    speaker = api.create("bgp-speakers", **SPEAKER)
    assert (speaker["local_as"], speaker["peers"], speaker["networks"]) == (4200000000, [], [])
    assert (speaker["portico:mode"], speaker["advertise_tenant_networks"]) == ("full-mesh", True)
    assert "advertised_routes" not in speaker
    assert api.list("bgp-speakers", "name=racks&local_as=4200000000") == [speaker]
    network = api.create("networks")
    peer = api.create("bgp-peers", **PEER | {"peer_ip": "192.0.2.1"})
    path = f"bgp-speakers/{speaker['id']}"
    for verb, body in (
        ("add_bgp_peer", {"bgp_peer_id": peer["id"]}),
        ("add_gateway_network", {"network_id": network["id"]}),
    ):
        answer = api.ask("PUT", f"{path}/{verb}", body)
        assert (answer.status, answer.body) == (200, body)
        assert api.ask("PUT", f"{path}/{verb}", {}).status == 400
        assert api.ask("GET", f"{path}/{verb}").status == 405
    shown = api.show("bgp-speakers", speaker["id"])
    assert (shown["peers"], shown["networks"]) == ([peer["id"]], [network["id"]])
    assert api.get(f"{path}/get_advertised_routes") == {"advertised_routes": []}
    assert api.ask("PUT", f"{path}/get_advertised_routes", {}).status == 405
    assert api.ask("GET", "bgp-speakers/none/get_advertised_routes").error == (404, "BgpSpeakerNotFound")
    assert api.ask("PUT", f"bgp-speakers/{speaker['id']}", {"bgp_speaker": {"local_as": 1}}).status == 400
    assert api.ask("POST", "bgp-speakers", {"bgp_speaker": SPEAKER | {"local_as": 1 << 32}}).status == 400
    api.delete("bgp-speakers", speaker)
    api.delete("bgp-peers", peer)


def test_no_answer_tells_a_password(api: Asker) -> None:
    peer = api.create("bgp-peers", **PEER)
    assert peer["peer_ip"] == "2001:db8::1"
    told = [
        peer,
        api.get("bgp-peers"),
        api.get(f"bgp-peers/{peer['id']}?fields=password"),
        api.update("bgp-peers", peer, password="nor-this"),
        api.ask("PUT", f"bgp-peers/{peer['id']}", {"bgp_peer": {"password": "nor-this\n"}}).body,
        api.ask("GET", "bgp-peers?password=nor-this").body,
        api.ask("GET", "bgp-peers?sort_key=password").body,
    ]
    for answer in told:
        assert "not-to-be-told" not in json.dumps(answer)
        assert "nor-this" not in json.dumps(answer)


def test_a_speaker_is_on_every_agent_that_it_was_not_removed_from(api: Asker) -> None:
    for host in ("h1", "h2"):
        facts = {"revision": 0, "facts": {"address_v4": "192.0.2.1"}}
        assert api.ask("PUT", f"/portico/v1/hosts/{host}/status", facts).status == 204
    one, two = sorted(api.list("agents"), key=lambda agent: str(agent["host"]))
    speaker = api.create("bgp-speakers", **SPEAKER)
    path, of_two = f"bgp-speakers/{speaker['id']}/bgp-dragents", f"agents/{two['id']}/bgp-drinstances"
    assert sorted(agent["host"] for agent in api.get(path)["agents"]) == ["h1", "h2"]
    assert api.get(path)["agents"][0]["alive"] is True
    assert api.get(of_two) == {"bgp_speakers": [speaker]}
    body = {"bgp_speaker_id": speaker["id"]}
    assert api.ask("POST", of_two, body).error == (409, "DrAgentAssociationError")
    assert api.ask("DELETE", f"{of_two}/{speaker['id']}").status == 204
    assert api.ask("DELETE", f"{of_two}/{speaker['id']}").error == (404, "DrAgentNotHostingBgpSpeaker")
    assert api.get(path) == {"agents": [api.show("agents", one["id"])]}
    assert (api.get(of_two), api.show("bgp-speakers", speaker["id"])["portico:excluded_hosts"]) == (
        {"bgp_speakers": []}, ["h2"],
    )  # fmt: skip
    api.update("agents", two, admin_state_up=False)
    assert api.ask("POST", of_two, body).error == (404, "DrAgentInvalid")
    api.update("agents", two, admin_state_up=True)
    answer = api.ask("POST", of_two, body)
    assert (answer.status, answer.body) == (201, None)
    assert len(api.get(path)["agents"]) == 2
    assert api.ask("POST", of_two, {}).status == 400
    assert api.ask("POST", of_two, {"bgp_speaker_id": one["id"]}).error == (404, "BgpSpeakerNotFound")
    assert api.ask("GET", f"agents/{speaker['id']}/bgp-drinstances").error == (404, "AgentNotFound")
