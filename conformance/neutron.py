# SPDX-License-Identifier: Apache-2.0
"""A real Neutron of one's own: ML2 with SQLite in a temporary folder, a free port of 127.0.0.1, gone with its user.

Its mechanism driver is Open vSwitch's, which binds a port to a host whose agent is alive. No such agent runs here: its
row in the database is written instead, and what it would say of a port. Settings are those of Neutron's
configuration reference. The tables are made from Neutron's own models, as its unit tests make them: its migrations are
for MySQL.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from conformance import process
from conformance.keystone import ADMIN, SERVICE, Keystone
from portico.testing.folder import temporary

ROOT = Path(__file__).parents[1] / ".venv-neutron"
"""The environment that `make neutron-venv` makes from neutron.lock."""
START_TIMEOUT_S = 120
TABLES_TIMEOUT_S = 120

TABLES = """
import sys
import sqlalchemy
from neutron.db.migration.models import head
from neutron_lib.db import model_base
model_base.BASEV2.metadata.create_all(sqlalchemy.create_engine(sys.argv[1]))
"""

CONFIGURATION = """\
[DEFAULT]
core_plugin = ml2
service_plugins =
auth_strategy = keystone
transport_url = fake://
api_paste_config = {paste}
state_path = {folder}/state
use_stderr = true
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
rpc_workers = 0
rpc_state_report_workers = 0
[database]
connection = sqlite:///{folder}/neutron.db
[oslo_concurrency]
lock_path = {folder}/lock
[oslo_messaging_notifications]
driver = noop
[keystone_authtoken]
www_authenticate_uri = {identity}
auth_url = {identity}
auth_type = password
username = {account.user}
password = {account.password}
project_name = {account.project}
user_domain_id = default
project_domain_id = default
[ml2]
mechanism_drivers = openvswitch
type_drivers = vxlan
tenant_network_types = vxlan
extension_drivers = port_security
[ml2_type_vxlan]
vni_ranges = 1:1000
[securitygroup]
enable_security_group = true
"""

SERVER = """\
wsgi_app = "neutron.wsgi.api:application"
bind = "127.0.0.1:{port}"
workers = 1
timeout = 120
worker_tmp_dir = "{folder}"
control_socket_disable = True
"""


class Neutron:
    """A Neutron server. `url` is without `/v2.0`; `admin` sends requests as an administrator, paths from `/v2.0`."""

    def __init__(self, url: str, folder: Path, admin: httpx.Client) -> None:
        self.url = url
        self.admin = admin
        self._database = folder / "neutron.db"

    def add_agent(self, host: str) -> None:
        """Have an Open vSwitch agent of `host` that is alive for good."""
        said = json.dumps({"tunnel_types": ["vxlan"], "tunneling_ip": "192.0.2.1", "bridge_mappings": {}})
        row = {
            "id": str(uuid.uuid4()), "agent_type": "Open vSwitch agent", "binary": "neutron-openvswitch-agent",
            "topic": "N/A", "host": host, "admin_state_up": 1, "created_at": "2020-01-01 00:00:00",
            "started_at": "2020-01-01 00:00:00", "heartbeat_timestamp": "2099-01-01 00:00:00", "configurations": said,
            "load": 0,
        }  # fmt: skip
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self._write(f"INSERT INTO agents ({names}) VALUES ({marks})", *row.values())  # noqa: S608 (names are ours)

    def set_status(self, port_id: str, status: str) -> None:
        """Say of a port what its host's agent would."""
        self._write("UPDATE ports SET status = ? WHERE id = ?", status, port_id)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request of an administrator and return the content of its answer."""
        answer = self.admin.request(method, f"/v2.0/{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def _write(self, statement: str, *values: Any) -> None:
        with contextlib.closing(sqlite3.connect(self._database, timeout=30)) as database, database:
            database.execute(statement, values)


@contextlib.contextmanager
def running(identity: Keystone) -> Iterator[Neutron]:
    """Yield a Neutron that asks `identity` and is in its catalog.

    Raises:
        NotReady: it does not answer; the message holds the end of its log.
    """
    with temporary("neutron") as folder:
        port = process.free_port()
        url = f"http://127.0.0.1:{port}"
        paste = ROOT / "etc" / "neutron" / "api-paste.ini"
        for name in ("state", "lock"):
            (folder / name).mkdir()
        text = CONFIGURATION.format(paste=paste, folder=folder, identity=identity.url, account=SERVICE)
        (folder / "neutron.conf").write_text(text)
        (folder / "gunicorn.conf.py").write_text(SERVER.format(port=port, folder=folder))
        argv = [str(ROOT / "bin" / "python"), "-c", TABLES, f"sqlite:///{folder}/neutron.db"]
        process.run(argv, {}, folder=folder, timeout_s=TABLES_TIMEOUT_S)
        environment = {"OS_NEUTRON_CONFIG_DIR": str(folder), "OS_NEUTRON_CONFIG_FILES": "neutron.conf"}
        server = process.start([str(ROOT / "bin" / "gunicorn")], folder / "log", environment, folder=folder)
        with process.stopping(server):
            process.await_answer(server, lambda: _answers(url), START_TIMEOUT_S)
            identity.publish(url)
            with httpx.Client(base_url=url, headers={"X-Auth-Token": identity.token(ADMIN)}, timeout=60) as admin:
                yield Neutron(url, folder, admin)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=START_TIMEOUT_S).is_success
    return False
