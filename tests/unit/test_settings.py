# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from portico import settings
from portico.errors import SettingsError
from portico.settings_check import TcpAddress, UnixAddress, is_loopback, parse_listen


def load(
    tmp_path: Path, toml: str = "", overrides: dict[str, str] | None = None, **environment: str
) -> settings.Settings:
    file = tmp_path / "portico.toml"
    file.write_text(toml)
    return settings.load(file, overrides, environment)


def test_the_defaults_are_a_working_set() -> None:
    loaded = settings.load(environment={})
    assert loaded.database == "sqlite:////var/lib/portico/portico.db"
    assert loaded.listen == ("127.0.0.1:9696", "unix:/run/portico/api.sock")
    assert loaded.agent.netns == "portico"
    assert loaded.host


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    toml = 'host = "file"\n[agent]\nnetns = "file"\nreconcile_s = 5\n[log]\nlevel = "debug"\n'
    loaded = load(tmp_path, toml, {"host": "line"}, PORTICO_HOST="environment", PORTICO_AGENT_NETNS="environment")
    assert (loaded.host, loaded.agent.netns, loaded.agent.reconcile_s, loaded.log.level) == (
        "line",
        "environment",
        5.0,
        "debug",
    )


def test_text_from_the_environment_becomes_the_settings_type(tmp_path: Path) -> None:
    loaded = load(tmp_path, PORTICO_DOCKER_ENABLED="false", PORTICO_API_PAGE_MAX="7", PORTICO_LISTEN="[::1]:1, unix:/a")
    assert (loaded.docker.enabled, loaded.api.page_max, loaded.listen) == (False, 7, ("[::1]:1", "unix:/a"))


def test_state_dir_and_run_dir_move_what_lies_in_them(tmp_path: Path) -> None:
    loaded = load(tmp_path, 'state_dir = "/s"\n', {"run_dir": "/r"})
    assert loaded.database == "sqlite:////s/portico.db"
    assert loaded.listen[1] == loaded.api_url == "unix:/r/api.sock"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("hots = 'a'", ["unknown setting 'hots'", "did you mean 'host'?"]),
        ("[agent]\nnetsn = 'a'", ["unknown setting 'agent.netsn'", "did you mean 'agent.netns'?"]),
        ("host = ", ["is not TOML"]),
        ("host = 3", ["host = 3", "expected str"]),
        ("[api]\npage_max = 0", ["api.page_max = 0", ">= 1"]),
        ("[log]\nlevel = 'loud'", ["log.level = 'loud'"]),
        ("auth = 'magic'", ["auth = 'magic'"]),
        ("listen = []", ["listen = []"]),
        ("listen = ['0.0.0.0:9696']", ["listen", "0.0.0.0:9696 is not on loopback", "auth = 'none'"]),
        ("listen = ['[::]:9696']", ["not on loopback"]),
        ("listen = ['127.0.0.1']", ["ADDRESS:PORT"]),
        ("listen = ['unix:api.sock']", ["absolute"]),
        ("run_dir = '/" + "r" * 120 + "'", ["107 bytes"]),
        ("state_dir = 'here'", ["state_dir", "absolute path"]),
        ("database = '/var/lib/x.db'", ["database", "URL"]),
        ("api_url = 'tcp://x'", ["api_url", "http://HOST:PORT"]),
        ("api_url = 'http://x:port'", ["api_url", "port"]),
        ("api_url = 'http://x:0'", ["api_url", "65535"]),
        ("[agent]\nnetns = '../x'", ["agent.netns = '../x'"]),
        ("[agent]\naddress_v4 = '2001:db8::1'", ["agent.address_v4", "2001:db8::1"]),
        ("[agent]\navailability_zone = ''", ["agent.availability_zone = ''", "1 to 255 characters"]),
        ("[network]\nmac_base = '01:00:5e'", ["network.mac_base", "group address"]),
        ("[network]\nmac_base = 'fa:16'", ["three octets"]),
        ("[docker]\nipv4_pool = '10.0.0.1/8'", ["docker.ipv4_pool", "host bits set"]),
        ("[docker]\nipv6_pool = '10.0.0.0/8'", ["docker.ipv6_pool"]),
        (
            "[docker]\nipv4_pool = '10.0.0.0/16'\nipv4_prefix_length = 12",
            ["ipv4_prefix_length = 12", "ipv4_pool"],
        ),
        ("[docker]\nipv6_pool = 'fd00::/64'\nipv6_prefix_length = 60", ["docker.ipv6_prefix_length = 60", "ipv6_pool"]),
        ("[network]\ndns_domain = 'a..b'", ["network.dns_domain", "domain name"]),
        ("auth = 'http_basic'", ["http_basic.file", "must be given with auth = 'http_basic'"]),
        ("auth = 'keystone'", ["keystone.auth_url", "must be given with auth = 'keystone'"]),
        ("[keystone]\nauth_url = 'ftp://x'", ["keystone.auth_url = 'ftp://x'", "http://HOST"]),
        ("[keystone]\nauth_url = 'http://me:secret@x'", ["keystone.auth_url", "without a user"]),
        ("[keystone]\ncache_s = 61", ["keystone.cache_s = 61", "60"]),
        ("[keystone]\npassword_file = 'x'", ["keystone.password_file = 'x'", "absolute path"]),
        ("[tls]\ncertificate = '/c.pem'", ["tls.key", "both or neither"]),
        ("[tls]\nclient_ca = '/c.pem'", ["tls.client_ca", "needs tls.certificate"]),
        ("api_user = 'agent'", ["api_password_file", "both or neither"]),
        ("backends = ['neutron']", ["neutron.endpoint", "neutron.cloud, neutron.auth_url or neutron.endpoint"]),
        (
            "backends = ['neutron']\n[neutron]\nauth_url = 'http://x/v3'",
            ["neutron.username", "given with neutron.auth_url"],
        ),
        ("[neutron]\nendpoint = 'x'", ["neutron.endpoint = 'x'", "http://HOST"]),
        ("[neutron]\ntag = 'a:b'", ["neutron.tag = 'a:b'"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_rule_in_one_line(
    tmp_path: Path, toml: str, words: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, toml)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("agent.physical_networks", "lab=eth0:1", "'eth0:1' of 'lab' is no link's name"),
        ("agent.physical_networks", "the lab=eth0", "'the lab' must be 1 to 64 letters"),
        ("agent.physical_networks", "a=eth0, b=eth0", "'eth0' is the interface of two physical networks"),
        ("network.vlan_ranges", "lab:7", "'lab:7' is not PHYSICAL_NETWORK:FIRST:LAST"),
        ("network.vlan_ranges", "lab:0:7", "'lab:0:7' is no range of VLAN IDs, which are 1 to 4094"),
        ("network.vlan_ranges", "lab:8:7", "'lab:8:7' is no range of VLAN IDs"),
    ],
)
def test_a_wrong_physical_network_is_named(tmp_path: Path, name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "", {name: value})
    assert words in str(caught.value)
    right = load(tmp_path, 'agent.physical_networks = {lab = "eth1.7"}\nnetwork.vlan_ranges = ["lab:1:4094"]\n')
    assert (right.agent.physical_networks, right.network.vlan_ranges) == ({"lab": "eth1.7"}, ("lab:1:4094",))


def test_a_variable_misspelt_is_an_error_and_a_strangers_is_not(tmp_path: Path) -> None:
    assert load(tmp_path, PORTICO_SERVICE_HOST="10.0.0.1", PORTICO_PORT="tcp://10.0.0.1:80").host
    with pytest.raises(SettingsError, match="did you mean PORTICO_AGENT_NETNS"):
        load(tmp_path, PORTICO_AGENT_NETSN="x")


def test_with_authentication_the_api_may_listen_anywhere_and_secrets_have_variables_of_their_own(
    tmp_path: Path,
) -> None:
    toml = "auth = 'keystone'\nlisten = ['0.0.0.0:9696']\n[keystone]\nauth_url = 'http://k/v3'\n"
    loaded = load(tmp_path, toml, PORTICO_KEYSTONE_PASSWORD="s", PORTICO_KEYSTONE_APPLICATION_CREDENTIAL_SECRET="s")
    assert loaded.listen == ("0.0.0.0:9696",)
    assert loaded.http_basic.admins == settings.load(None, {}, settings.as_environment(loaded)).http_basic.admins == ()


def test_a_variable_is_named_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"api.page_max = 'many' \(PORTICO_API_PAGE_MAX\)"):
        load(tmp_path, PORTICO_API_PAGE_MAX="many")


def test_an_unknown_override_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"command line: unknown setting 'agent'"):
        load(tmp_path, "", {"agent": "x"})


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        settings.load(tmp_path / "absent.toml", environment={})


def test_what_is_printed_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    loaded = load(tmp_path, 'host = "a\\"b"\n[docker]\nenabled = false\n[agent]\nreconcile_s = 2.5\n')
    assert load(tmp_path, settings.as_toml(loaded)) == loaded


def test_the_environment_of_a_child_gives_it_the_same_settings(tmp_path: Path) -> None:
    loaded = load(tmp_path, 'host = "h"\nlisten = ["127.0.0.1:1"]\n[docker]\nenabled = false\n[log]\nformat = "json"\n')
    (tmp_path / "other.toml").write_text("host = 'other'")
    assert settings.load(tmp_path / "other.toml", None, settings.as_environment(loaded)) == loaded


def test_every_setting_says_what_it_is_for() -> None:
    assert [field.name for field in settings.fields() if not field.description] == []


@pytest.mark.parametrize(
    ("text", "address", "local"),
    [
        ("127.0.0.9:1", TcpAddress("127.0.0.9", 1), True),
        ("[::1]:9696", TcpAddress("::1", 9696), True),
        ("localhost:0", TcpAddress("localhost", 0), True),
        ("192.0.2.1:80", TcpAddress("192.0.2.1", 80), False),
        ("unix:/run/a.sock", UnixAddress(Path("/run/a.sock")), True),
    ],
)
def test_an_address_to_listen_on(text: str, address: UnixAddress | TcpAddress, local: bool) -> None:
    assert parse_listen(text) == address
    assert is_loopback(address) is local


def test_tables_come_from_the_file_and_from_the_environment_and_can_be_passed_on(tmp_path: Path) -> None:
    toml = '[broker]\nprojects = {red = "routed bridge"}\n[broker.types]\nflat = "bridge"\n'
    loaded = load(tmp_path, toml)
    assert (loaded.broker.types, loaded.broker.projects) == ({"flat": "bridge"}, {"red": "routed bridge"})
    assert settings.load(None, {}, settings.as_environment(loaded)) == loaded
    assert load(tmp_path, settings.as_toml(loaded)) == loaded
    assert load(tmp_path, PORTICO_BROKER_TYPES="flat=bridge, vlan=wide").broker.types == {
        "flat": "bridge",
        "vlan": "wide",
    }
    with pytest.raises(SettingsError, match="'flat' is not NAME=VALUE"):
        load(tmp_path, "", {"broker.types": "flat"})
