# SPDX-License-Identifier: Apache-2.0
"""TLS with real certificates: TCP has it, the unix socket has not."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from portico.agent.feed import Api, Follower
from portico.api.server import warn_without_tls
from portico.api.tls import Tls
from portico.client import Access, Client
from portico.errors import SettingsError, Unavailable
from portico.hoststate import Update
from portico.settings import load
from portico.settings_identity import TlsSettings
from portico.testing.authority import Authority

from .site import DEADLINE_S, Site, line_of, serving, wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def site(tmp_path: Path, authority: Authority) -> Iterator[Site]:
    certificate, key = authority.issue("api.example")
    (tmp_path / "users").write_text(line_of("agent", "secret"))
    with serving(
        tmp_path,
        tls__certificate=str(shutil.copy(certificate, tmp_path / "certificate")),
        tls__key=str(shutil.copy(key, tmp_path / "key")),
        auth="http_basic",
        http_basic__file=f"{tmp_path}/users",
        http_basic__admins="agent",
    ) as made:
        yield made


def agent(authority: Authority, certificate: str = "") -> Access:
    return Access("agent", "secret", str(authority.certificate), certificate)


def serial(site: Site, authority: Authority) -> str:
    """Return the number of the certificate that is shown."""
    context = ssl.create_default_context(cafile=authority.certificate)
    with (
        socket.create_connection(("127.0.0.1", site.ports[0]), timeout=DEADLINE_S) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as connection,
    ):
        found = connection.getpeercert() or {}
        return str(found["serialNumber"])


def test_a_client_that_knows_the_authority_asks_over_tls(site: Site, authority: Authority) -> None:
    with Client(site.url("https"), access=agent(authority)) as client:
        client.create("networks", {"name": "blue"})
        assert [network["name"] for network in client.list("networks")] == ["blue"]
        assert client.get_json("/v2.0/")["resources"][0]["links"][0]["href"].startswith("https://")


def test_the_unix_socket_has_no_tls(site: Site) -> None:
    with Client(site.unix) as client:
        assert client.get_json("/healthz")["status"] == "ok"


def test_a_client_that_does_not_know_the_authority_sends_nothing(site: Site) -> None:
    with Client(site.url("https"), access=Access("agent", "secret")) as client, pytest.raises(Unavailable):
        client.list("networks")


def test_whoever_speaks_no_tls_gets_no_answer(site: Site) -> None:
    with Client(site.url("http")) as client, pytest.raises(Unavailable):
        client.get_json("/healthz")


@pytest.mark.parametrize(("version", "works"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
def test_what_is_older_than_tls_1_2_is_too_old(site: Site, version: str, works: bool) -> None:
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.ports[0]}", version, "-cipher", "ALL:@SECLEVEL=0"]
    found = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S)
    assert (found.returncode == 0) is works


def test_a_renewed_certificate_is_shown_and_a_broken_one_is_not(
    site: Site, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = serial(site, authority)
    certificate, key = authority.issue("api.example", "second")
    shutil.copy(certificate, tmp_path / "certificate")
    site.server.ask_to_renew()
    wait_until(lambda: "stays as it was" in caplog.text)
    assert serial(site, authority) == first
    shutil.copy(key, tmp_path / "key")
    site.server.ask_to_renew()
    wait_until(lambda: "holds now" in caplog.text)
    assert serial(site, authority) not in ("", first)


def test_an_agent_on_another_host_follows_the_api(site: Site, authority: Authority) -> None:
    heard: list[Update] = []
    came = threading.Event()

    def offer(update: Update) -> None:
        heard.append(update)
        came.set()

    follower = Follower(Api(site.url("https"), agent(authority)), "h1", offer=offer, connected=lambda: None)
    follower.start()
    assert came.wait(DEADLINE_S)
    follower.stop()


def test_clients_may_be_asked_for_a_certificate_of_their_own(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("api.example")
    mine, my_key = authority.issue("host1.example")
    (tmp_path / "mine").write_text(mine.read_text() + my_key.read_text())
    (tmp_path / "users").write_text(line_of("agent", "secret"))
    with serving(
        tmp_path,
        tls__certificate=str(certificate),
        tls__key=str(key),
        tls__client_ca=str(authority.certificate),
        auth="http_basic",
        http_basic__file=f"{tmp_path}/users",
    ) as site:
        with Client(site.url("https"), access=agent(authority, f"{tmp_path}/mine")) as client:
            assert client.list("networks") == []
        with Client(site.url("https"), access=agent(authority)) as client, pytest.raises(Unavailable):
            client.list("networks")


@pytest.mark.parametrize(
    ("listen", "certificate", "warned"),
    [
        ("127.0.0.1:9696,unix:/run/s", "", False),
        ("127.0.0.1:9696,0.0.0.0:9697", "", True),
        ("[2001:db8::1]:9696", "", True),
        ("0.0.0.0:9697", "/c", False),
    ],
)
def test_plain_text_that_leaves_the_host_is_warned_of(
    listen: str, certificate: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"auth": "http_basic", "http_basic.file": "/u", "listen": listen}
    given |= {"tls.certificate": certificate, "tls.key": certificate}
    warn_without_tls(load(Path("/dev/null"), given, {}))
    assert ("without TLS" in caplog.text) is warned
    assert "127.0.0.1" not in caplog.text


@pytest.mark.parametrize(
    ("url", "warned"),
    [("http://k.example/v3", True), ("https://k.example/v3", False), ("http://127.0.0.1:5000", False)],
)
def test_a_keystone_without_tls_is_warned_of(url: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    warn_without_tls(load(Path("/dev/null"), {"auth": "keystone", "keystone.auth_url": url}, {}))
    assert ("keystone.auth_url: without TLS" in caplog.text) is warned


def test_files_that_cannot_be_used_stop_the_start_and_are_named(tmp_path: Path, authority: Authority) -> None:
    certificate, key = map(str, authority.issue("api.example"))
    _, another = map(str, authority.issue("other.example"))
    empty, locked = tmp_path / "empty", tmp_path / "locked"
    empty.touch()
    lock = ["openssl", "ec", "-in", key, "-aes128", "-passout", "pass:x", "-out", str(locked)]
    subprocess.run(lock, check=True, capture_output=True)
    for settings, words in (
        (TlsSettings(certificate="/absent", key=key), "tls.certificate = '/absent', .*: No such file"),
        (TlsSettings(certificate=certificate, key=another), "key values mismatch"),
        (TlsSettings(certificate=certificate, key=str(locked)), "passphrase"),
        (TlsSettings(certificate=str(empty), key=key), "empty.*not PEM"),
        (TlsSettings(certificate=certificate, key=key, client_ca=str(empty)), "tls.client_ca = '.*empty'"),
    ):
        with pytest.raises(SettingsError, match=words):
            Tls(settings)
    with pytest.raises(SettingsError, match="api_ca = '/absent'"):
        Api("https://localhost:1", Access(ca="/absent"))
    with pytest.raises(SettingsError, match="api_password_file = '/absent'"):
        Access.read("agent", "/absent", "", "")
