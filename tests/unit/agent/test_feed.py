# SPDX-License-Identifier: Apache-2.0
"""The feed against an API of a few lines on a real unix socket."""

from __future__ import annotations

import queue
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import msgspec
import pytest

from portico.agent import feed
from portico.agent.feed import Api, Follower, Reporter
from portico.errors import SettingsError
from portico.hoststate import Bridge, Count, Report, Status, Update
from portico.settings_check import problem

FIRST = Update(3, (Bridge("n1", 1500),), complete=True)
SECOND = Update(4, gone=("bridge/n1",))


class Server(socketserver.ThreadingUnixStreamServer):
    """Serves two Updates and closes; takes Reports, refusing the first `refuse` of them.

    With `cut` it closes the connection after each Report without saying so. `ends` has an item for each one that ended.
    """

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self.paths: list[str] = []
        self.refuse = 0
        self.cut = False
        self.connections = 0
        self.ends: queue.SimpleQueue[None] = queue.SimpleQueue()
        super().__init__(str(path), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def finish(self) -> None:
        super().finish()
        self.server.ends.put(None)

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for line in (msgspec.json.encode(FIRST), b"", msgspec.json.encode(SECOND)):
            self.wfile.write(line + b"\n")

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refuse > 0:
            self.server.refuse -= 1
            self.send_error(503)
            return
        self.server.reports.put(msgspec.json.decode(body, type=Report))
        self.send_response(204)
        self.end_headers()
        self.close_connection = self.close_connection or self.server.cut

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path / "api.sock")
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(f"unix:{tmp_path}/api.sock")


def test_follower_hands_over_updates_in_order_and_connects_again_after_the_end(server: Server, api: Api) -> None:
    offered: queue.SimpleQueue[Update | str] = queue.SimpleQueue()
    follower = Follower(api, "a/b", offer=offered.put, connected=lambda: offered.put("connected"))
    follower.start()
    assert [offered.get(timeout=5) for _ in range(6)] == 2 * ["connected", FIRST, SECOND]
    follower.stop()
    assert server.paths[0] == "/portico/v1/hosts/a%2Fb/wanted"


def test_follower_connects_as_soon_as_an_absent_api_comes_up(tmp_path: Path, api: Api) -> None:
    offered: queue.SimpleQueue[Update] = queue.SimpleQueue()
    follower = Follower(api, "a", offer=offered.put, connected=lambda: None)
    follower.start()
    late = Server(tmp_path / "api.sock")
    thread = threading.Thread(target=late.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    assert offered.get(timeout=5) == FIRST
    follower.stop()
    late.shutdown()
    late.server_close()
    thread.join()


def test_reporter_says_at_once_that_it_is_there_and_sends_changes_at_once(server: Server, api: Api) -> None:
    reporter = Reporter(api, "a", lambda: {"version": "1"})
    reporter.start()
    assert server.reports.get(timeout=2) == Report(0, (), {"version": "1"}, started=True)
    reporter.report(7, [Status("vif/1", "active")])
    assert server.reports.get(timeout=2) == Report(7, (Status("vif/1", "active"),))


def test_what_was_counted_is_told_until_it_is_delivered_and_the_newest_of_a_counter(server: Server, api: Api) -> None:
    server.refuse = 2
    gone, first, second = Count("r", "l", "a", 5, 50), Count("s", "l", "b", 1, 10), Count("s", "l", "b", 2, 20)
    told = iter([(gone, first), (first,), (second,)])
    reporter = Reporter(api, "a", dict, dict, lambda: next(told, ()))
    reporter.start()
    assert server.reports.get(timeout=20).counts == (gone, second)


def test_facts_come_with_heartbeats_however_often_statuses_change(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT_S", 0.3)
    reporter = Reporter(api, "a", lambda: {"version": "1"})
    reporter.start()
    reports = []
    for number in range(40):
        reporter.report(number, [Status(f"vif/{number}", "active")])
        time.sleep(0.02)
    while not server.reports.empty():
        reports.append(server.reports.get())
    beats = sum(bool(report.facts) for report in reports)
    assert 2 <= beats <= 5 < len(reports)


def test_reports_that_come_soon_after_each_other_go_over_one_connection_which_is_not_kept_idle(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "KEEP_S", 0.5)
    reporter = Reporter(api, "a", dict)
    reporter.start()
    for number in range(3):
        server.reports.get(timeout=10)
        reporter.report(number, [Status("vif/1", "active")])
    server.ends.get(timeout=10)
    assert server.connections == 1


def test_a_report_for_which_the_kept_connection_was_closed_goes_over_a_new_one_at_once(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "BACKOFF_FIRST_S", 60.0)
    monkeypatch.setattr(feed, "BACKOFF_MAX_S", 60.0)
    server.cut = True
    reporter = Reporter(api, "a", dict)
    reporter.start()
    for number in range(4):
        server.reports.get(timeout=10)
        server.ends.get(timeout=10)
        reporter.report(number, [Status("vif/1", "active")])
    assert server.reports.get(timeout=10).revision == 3


def test_statuses_that_come_in_a_burst_go_together(server: Server, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "PACE_S", 0.2)
    reporter = Reporter(api, "a", dict)
    reporter.start()
    server.reports.get(timeout=10)
    for number in range(100):
        reporter.report(number, [Status(f"vif/{number}", "active")])
    report = server.reports.get(timeout=10)
    assert (report.revision, len(report.statuses)) == (99, 100)


def test_that_something_is_gone_which_was_well_waits_for_other_news_but_not_long(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "GONE_MAX_S", 60.0)
    reporter = Reporter(api, "a", dict)
    reporter.start()
    reporter.report(1, [Status("vif/1", "active"), Status("vif/2", "error", "x"), Status("vif/3", "active")])
    told: tuple[Status, ...] = ()
    while not told:
        told = server.reports.get(timeout=10).statuses
    reporter.report(2, [Status("vif/1", "gone")])
    time.sleep(0.1)
    assert server.reports.empty()
    reporter.report(3, [Status("vif/2", "gone")])
    assert server.reports.get(timeout=10) == Report(3, (Status("vif/1", "gone"), Status("vif/2", "gone")))
    reporter.report(4, [Status("vif/unheard-of", "gone")])
    assert server.reports.get(timeout=10).revision == 4
    monkeypatch.setattr(feed, "GONE_MAX_S", 0.1)
    reporter.report(5, [Status("vif/3", "gone")])
    assert server.reports.get(timeout=10) == Report(5, (Status("vif/3", "gone"),))


def test_numbers_about_the_agents_work_come_with_heartbeats(server: Server, api: Api) -> None:
    reporter = Reporter(api, "a", dict, lambda: {"passes": 3})
    reporter.start()
    assert server.reports.get(timeout=2) == Report(0, started=True, measures={"passes": 3})
    reporter.report(7, [Status("vif/1", "active")])
    assert server.reports.get(timeout=2).measures == {}


def test_every_report_says_that_the_agent_has_just_started_until_one_is_delivered(server: Server, api: Api) -> None:
    server.refuse = 2
    reporter = Reporter(api, "a", dict)
    reporter.start()
    assert server.reports.get(timeout=5).started
    reporter.report(7, [Status("vif/1", "active")])
    assert not server.reports.get(timeout=5).started


def test_reporter_keeps_what_was_refused_and_prefers_the_newer_status(server: Server, api: Api) -> None:
    server.refuse = 2
    reporter = Reporter(api, "a", dict)
    reporter.start()
    reporter.report(7, [Status("vif/1", "waiting", "x"), Status("vif/2", "active")])
    reporter.report(8, [Status("vif/1", "active")])
    found: dict[str, Status] = {}
    while found != {"vif/1": Status("vif/1", "active"), "vif/2": Status("vif/2", "active")}:
        report = server.reports.get(timeout=5)
        found |= {status.key: status for status in report.statuses}
    assert report.revision == 8


def test_an_address_that_is_no_http_and_no_socket_is_refused() -> None:
    with pytest.raises(SettingsError, match="ftp://x"):
        Api("ftp://x")


@pytest.mark.parametrize("url", ["unix:/run/x.sock", "http://h:9696", "https://h:9696", "https://h"])
def test_what_the_settings_accept_the_feed_can_speak(url: str) -> None:
    assert problem("api_url", url) == ""
    connection = Api(url).connect(1.0)
    assert (connection.context is not None) == url.startswith("https:")
    if not url.startswith("unix:"):
        assert (connection.host, connection.port) == ("h", 443 if url == "https://h" else 9696)


@pytest.mark.parametrize("url", ["tcp://h:1", "http://h:port", "http://h:0", "http://h:70000"])
def test_what_the_feed_cannot_speak_the_settings_refuse(url: str) -> None:
    assert problem("api_url", url)
