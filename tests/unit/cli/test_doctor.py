# SPDX-License-Identifier: Apache-2.0
"""What `portico doctor` finds about who asks; the rest is tried in tests/lab."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from portico.cli.doctor import check_helpers, check_identity, check_interfaces, check_listen
from portico.settings import Settings, load
from portico.testing.authority import Authority

USERS = "alice:$2y$05$" + "." * 53 + "\n"


def settings(**given: str) -> Settings:
    return load(Path("/dev/null"), {name.replace("__", "."): value for name, value in given.items()}, {})


def found(made: Settings) -> list[tuple[str, str]]:
    return [(finding.check, finding.state) for finding in check_identity(made)]


def test_without_authentication_there_is_nothing_to_find() -> None:
    assert found(settings()) == []


def test_a_file_of_users_is_read(tmp_path: Path) -> None:
    file = tmp_path / "users"
    made = settings(auth="http_basic", http_basic__file=str(file))
    assert found(made) == [("users", "missing")]
    file.write_text(USERS)
    assert found(made) == [("users", "ok")]
    file.write_text("alice:secret\n")
    [finding] = check_identity(made)
    assert finding.state == "missing" and "line 1" in finding.detail


def test_a_keystone_that_does_not_answer_is_missing(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    url = "http://127.0.0.1:1/v3"
    made = settings(auth="keystone", keystone__auth_url=url, keystone__password_file=f"{tmp_path}/password")
    [finding] = check_identity(made)
    assert (finding.state, finding.detail) == ("missing", f"Keystone at {url}: ConnectFailure")


def test_a_certificate_without_its_key_is_missing(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = map(str, authority.issue("one"))
    _, another = map(str, authority.issue("two"))
    assert found(settings(tls__certificate=certificate, tls__key=key)) == [("certificate", "ok")]
    assert found(settings(tls__certificate=certificate, tls__key=another)) == [("certificate", "missing")]


def test_the_interface_of_a_physical_network_has_to_be_there() -> None:
    made = settings(agent__physical_networks="lab=lo,attic=nosuchlink")
    lab, attic = check_interfaces(made)
    assert (lab.check, lab.state in ("ok", "missing")) == ("physical network lab", True)
    assert (attic.state, attic.detail) == ("missing", "there is no interface nosuchlink")
    assert [*check_interfaces(settings())] == []


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status":"ok","version":"1"}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(("has_tls", "detail"), [(True, "answers there already"), (False, "Address already in use")])
def test_a_portico_with_tls_is_not_in_its_own_way(tmp_path: Path, has_tls: bool, detail: str) -> None:
    from portico.api.tls import Tls

    certificate, key = map(str, Authority(tmp_path).issue("elsewhere"))
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        server.socket = Tls(settings(tls__certificate=certificate, tls__key=key).tls).context.wrap_socket(
            server.socket, server_side=True
        )
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        own = {"tls__certificate": certificate, "tls__key": key} if has_tls else {}
        [finding] = check_listen(settings(listen=f"127.0.0.1:{server.server_port}", **own))
        server.shutdown()
    assert detail in finding.detail


def test_a_kernel_that_lacks_helpers_is_told_of_each() -> None:
    [finding] = check_helpers(
        settings(), lambda helper, protocol: f"no {helper} for {protocol}" if helper == "sip" else ""
    )
    assert (finding.state, finding.remedy.split()[:3]) == ("absent", ["modprobe", "-a", "nf_nat_ftp"])
    assert finding.detail.startswith("no sip for tcp; no sip for udp; ")
