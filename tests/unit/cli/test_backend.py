# SPDX-License-Identifier: Apache-2.0
"""`portico backend` against a real API."""

from __future__ import annotations

from portico.client import Client

from .conftest import Portico


def test_backends_are_listed_and_shown_with_the_hosts_that_lack_something(portico: Portico, api_url: str) -> None:
    facts = {"version": "1", "able": "", "lacks_bridge": "no br_netfilter"}
    with Client(api_url) as client:
        client.put_json("/portico/v1/hosts/unable/status", {"revision": 0, "facts": facts})
        client.put_json("/portico/v1/hosts/able/status", {"revision": 0, "facts": {"able": "bridge routed"}})
    listed = portico("backend", "list")
    assert listed.code == 0 and "unable: no br_netfilter" in listed.out
    assert portico("backend", "list", "-f", "value", "-c", "name").out == "bridge\nrouted\n"
    found = portico("backend", "show", "bridge", "-f", "json").json
    assert {"host": "unable", "able": False, "reason": "no br_netfilter"} in found["hosts"]
    assert "network_types  local" in portico("backend", "show", "bridge").out
    missing = portico("backend", "show", "pigeon")
    assert missing.code == 1 and "Backend pigeon could not be found" in missing.err
    with Client(api_url) as client:
        for row in client.list("agents"):
            client.delete("agents", row["id"])
