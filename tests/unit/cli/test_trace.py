# SPDX-License-Identifier: Apache-2.0
"""`portico trace` against a real API."""

from __future__ import annotations

import json
import threading

from portico.client import Client

from .conftest import Portico


def test_a_packet_s_way_is_told_hop_by_hop_and_the_exit_code_says_whether_it_passes(
    portico: Portico, api_url: str
) -> None:
    with Client(api_url) as client:
        network = client.create("networks", {"name": "traced"})
        client.create("subnets", {"network_id": network["id"], "ip_version": 4, "cidr": "10.7.0.0/24"})
        ports = []
        for name in ("traced-a", "traced-b"):
            body = {"network_id": network["id"], "name": name, "binding:host_id": "host-a"}
            ports.append(client.create("ports", body))
            report = {"revision": 0, "statuses": [{"key": f"vif/{ports[-1]['id']}", "state": "active"}]}
            client.put_json("/portico/v1/hosts/host-a/status", report)
        passed = portico("trace", "traced-a", "traced-b", "tcp/80")
        assert passed.code == 0, passed
        assert passed.out.splitlines()[-1] == "it passes" and "port traced-b" in passed.out
        found = portico("trace", "traced-a", "traced-b", "tcp/80", "-f", "json").json
        assert found["passes"] and found["hops"][-1]["object"] == f"port/{ports[1]['id']}"
        stopped = portico("trace", "traced-a", "192.0.2.7", "udp/53")
        assert stopped.code == 1
        assert stopped.out.splitlines()[-1].startswith("it does not pass: gateway_ip 10.7.0.1 of subnet")
        for words, why in (
            (("traced-a", "nobody"), "destination: no port has the name or id 'nobody'"),
            (("traced-a", "traced-b", "tcp"), "port 'None' is not a number of 1 to 65535"),
            (("traced-a", "traced-b", "tcp/http"), "port 'http' is not a number of 1 to 65535"),
        ):
            wrong = portico("trace", *words)
            assert wrong.code == 2 and why in wrong.err, wrong
        for row in (*ports, network):
            client.delete("networks" if row is network else "ports", row["id"])
        for row in client.list("agents"):
            client.delete("agents", row["id"])


def test_the_kernel_of_another_host_is_seen_by_its_agent(portico: Portico, api_url: str) -> None:
    aspects = [{"aspect": "tap mtu", "wanted": "1500", "actual": "1500", "same": True}]
    with Client(api_url) as client:
        network = client.create("networks", {"name": "far"})
        client.create("subnets", {"network_id": network["id"], "ip_version": 4, "cidr": "10.7.0.0/24"})
        port = client.create("ports", {"network_id": network["id"], "name": "far-a", "binding:host_id": "far"})
        report = {"revision": 0, "statuses": [{"key": f"vif/{port['id']}", "state": "active"}]}
        client.put_json("/portico/v1/hosts/far/status", report)
        asked: list[str] = []

        def answer() -> None:
            with Client(api_url) as agent, Client(api_url) as other:
                for update in agent.stream("/portico/v1/hosts/far/wanted"):
                    ready.set()
                    for look in (update or {}).get("looks", ()):
                        asked.append(look["port_id"])
                        other.put_json(f"/portico/v1/hosts/far/looks/{look['id']}", {"aspects": aspects})
                    if len(asked) == 3:
                        return

        ready, thread = threading.Event(), threading.Thread(target=answer, daemon=True)
        thread.start()
        assert ready.wait(20)
        shown = portico("port", "explain", "far-a")
        assert (shown.code, shown.out.splitlines()[-1]) == (0, "the kernel has all 1 aspects as wanted")
        aspects[0] |= {"actual": "1234", "same": False}
        shown = portico("port", "explain", "far-a")
        assert shown.code == 1 and shown.out.splitlines()[-1].split() == ["false", "tap", "mtu", "1500", "1234"]
        stopped = portico("trace", "far-a", "10.7.0.99", "--kernel", "-f", "json")
        assert stopped.code == 1 and json.loads(stopped.out)["hops"][-1] == {
            "object": f"port/{port['id']}", "what": "in the kernel of host far", "verdict": "missing",
            "why": "tap mtu: wanted 1500, found 1234",
        }  # fmt: skip
        thread.join(20)
        assert asked == [port["id"]] * 3
