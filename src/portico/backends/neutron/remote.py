# SPDX-License-Identifier: Apache-2.0
"""The remote's Networking API v2.0, through openstacksdk: lists, writes, and what went wrong in its own words.

openstacksdk is no dependency of Portico: it is imported when the first request is made, and asked for before.
Sources: OpenStack's API reference, Networking v2.0; the openstacksdk manual, "Connection" and "Configuration".
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from portico.errors import BadRequest, NotFound, PorticoError, SettingsError, Unauthorized, Unavailable
from portico.settings_neutron import NeutronSettings

Row = dict[str, Any]

PAGE = 500
IDS_AT_ONCE = 40
"""So many ids of 36 characters fit into a request line of 8190 bytes, the least that common servers take."""
WORDS_MAX = 300

SINGULAR = {
    "networks": "network",
    "subnets": "subnet",
    "ports": "port",
    "security-groups": "security_group",
    "security-group-rules": "security_group_rule",
}


class Refused(BadRequest):
    """The remote does not do this with this object; the message is the remote's."""


class Broken(PorticoError):
    """The remote failed over this request (5xx): its own fault, or this object's."""


class Remote:
    """One remote Networking service.

    Args:
        settings: where it is, and as whom it is asked.

    Raises:
        SettingsError: openstacksdk is not installed, or a setting cannot be used.
    """

    def __init__(self, settings: NeutronSettings) -> None:
        if importlib.util.find_spec("openstack") is None:
            raise SettingsError(
                "backends: 'neutron' needs openstacksdk, which is not installed: pip install 'portico[neutron]'"
            )
        self._settings = settings
        self._password = _read_password(settings.password_file)
        self._lock = threading.Lock()
        self._connection: Any = None

    @property
    def name(self) -> str:
        """What the remote is called in messages."""
        return f"remote Networking service {self._settings.cloud or self._settings.endpoint or self._settings.auth_url}"

    def read(self, collection: str, ids: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the objects of a collection in our project there, or those that `ids` name.

        Raises:
            Unavailable: it does not answer, or not as it should.
        """
        if ids is None:
            project = self._project_id()
            yield from self._pages(collection, [("project_id", project)] if project else [])
            return
        for start in range(0, len(ids), IDS_AT_ONCE):
            yield from self._pages(collection, [("id", item) for item in ids[start : start + IDS_AT_ONCE]])

    def create(self, collection: str, body: Mapping[str, Any]) -> Row:
        """Create an object and return it."""
        return self._only(self._send("POST", f"/{collection}", {SINGULAR[collection]: dict(body)}))

    def create_many(self, collection: str, bodies: Sequence[Mapping[str, Any]]) -> None:
        """Create objects, all or none."""
        self._send("POST", f"/{collection}", {f"{SINGULAR[collection]}s": [dict(body) for body in bodies]})

    def update(self, collection: str, object_id: str, body: Mapping[str, Any]) -> Row:
        """Change an object and return it.

        Raises:
            NotFound: it is gone.
        """
        return self._only(self._send("PUT", f"/{collection}/{object_id}", {SINGULAR[collection]: dict(body)}))

    def tag(self, collection: str, object_id: str, tag: str) -> None:
        """Give an object one tag besides those it has.

        Raises:
            NotFound: it is gone.
        """
        self._send("PUT", f"/{collection}/{object_id}/tags/{tag}")

    def delete(self, collection: str, object_id: str) -> None:
        """Delete an object; one that is gone is no error."""
        try:
            self._send("DELETE", f"/{collection}/{object_id}")
        except NotFound:
            return

    def _pages(self, collection: str, filters: list[tuple[str, str]]) -> Iterator[Row]:
        key = collection.replace("-", "_")
        marker: list[tuple[str, str]] = []
        while True:
            query = [*filters, ("limit", str(PAGE)), *marker]
            try:
                answer = self._send("GET", f"/{collection}", query=query)
            except (Broken, Refused, NotFound) as error:
                raise Unavailable(f"{self.name}: list of {collection}: {error.message}") from error
            rows = answer.get(key)
            if not isinstance(rows, list):
                raise Unavailable(f"{self.name}: list of {collection}: its answer has none: {_words(str(answer))}")
            yield from rows
            if not rows or not any(link.get("rel") == "next" for link in answer.get(f"{key}_links", ())):
                return
            marker = [("marker", rows[-1]["id"])]

    def _send(self, method: str, path: str, body: Any = None, query: list[tuple[str, str]] | None = None) -> Row:
        """Send one request, once, and return what the answer holds.

        Raises:
            NotFound, Refused: the remote's 4xx.
            Broken: its 5xx.
            Unavailable: no answer, no access, or one that is not the API's.
        """
        from keystoneauth1.exceptions import ClientException
        from openstack.exceptions import SDKException

        try:
            answer = self._network().request(
                path, method, json=body, params=query, raise_exc=False, connect_retries=0, status_code_retries=0
            )
        except (ClientException, SDKException) as error:
            raise Unavailable(f"{self.name}: {_words(str(error))}") from error
        if answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
            return self._content(answer)
        raise self._error(answer.status_code, _message(answer))

    def _content(self, answer: Any) -> Row:
        if answer.status_code == HTTPStatus.NO_CONTENT or not answer.content:
            return {}
        try:
            content = answer.json()
        except ValueError as error:
            raise Unavailable(f"{self.name}: its answer is not JSON: {_words(answer.text)}") from error
        if content is None:  # what Neutron says to a tag
            return {}
        if not isinstance(content, dict):
            raise Unavailable(f"{self.name}: its answer is not the Networking API's: {_words(answer.text)}")
        return content

    def _error(self, status: int, message: str) -> PorticoError:
        """Return the error that an HTTP status stands for."""
        match status:
            case HTTPStatus.NOT_FOUND:
                return NotFound(message)
            case HTTPStatus.UNAUTHORIZED:
                return Unavailable(f"{self.name}: it refuses Portico's credentials: {message}")
            case HTTPStatus.REQUEST_TIMEOUT | HTTPStatus.TOO_MANY_REQUESTS:
                return Unavailable(f"{self.name}: HTTP {status}: {message}")
            case HTTPStatus.BAD_GATEWAY | HTTPStatus.SERVICE_UNAVAILABLE | HTTPStatus.GATEWAY_TIMEOUT:
                return Unavailable(f"{self.name}: HTTP {status}: {message}")
            case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return Broken(f"HTTP {status}: {message}")
            case _:
                return Refused(message)

    def _only(self, content: Row) -> Row:
        if len(content) != 1 or not isinstance(row := next(iter(content.values())), dict) or "id" not in row:
            raise Unavailable(f"{self.name}: its answer is not the Networking API's: {_words(str(content))}")
        return row

    def _network(self) -> Any:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
        return self._connection.network

    def _project_id(self) -> str:
        from keystoneauth1.exceptions import ClientException
        from openstack.exceptions import SDKException

        try:
            self._network()
            return str(self._connection.current_project_id or "")
        except Unauthorized as error:
            raise Unavailable(f"{self.name}: {error.message}") from error
        except (ClientException, SDKException) as error:
            raise Unavailable(f"{self.name}: {_words(str(error))}") from error

    def _connect(self) -> Any:
        """Return openstacksdk's connection; nothing is asked yet.

        Raises:
            Unavailable: clouds.yaml does not have the cloud, or says nonsense.
        """
        import openstack

        settings = self._settings
        given: dict[str, Any] = {"load_envvars": False, "api_timeout": settings.timeout_s}
        if settings.ca_file:
            given["cacert"] = settings.ca_file
        if settings.region:
            given["region_name"] = settings.region
        if settings.endpoint:
            given["network_endpoint_override"] = settings.endpoint
        if settings.cloud:
            from openstack.config import OpenStackConfig
            from openstack.exceptions import SDKException

            files = [settings.clouds_file] if settings.clouds_file else None
            del given["load_envvars"]
            try:
                config = OpenStackConfig(config_files=files, load_envvars=False)
                return openstack.connection.Connection(config=config.get_one(cloud=settings.cloud, **given))
            except (SDKException, OSError) as error:
                raise Unavailable(f"{self.name}: neutron.cloud: {_words(str(error))}") from error
        return openstack.connect(load_yaml_config=False, **given, **self._identity())

    def _identity(self) -> dict[str, Any]:
        """Return how openstacksdk is to show who asks."""
        settings = self._settings
        if settings.auth_url:
            names = ("auth_url", "username", "project_name", "user_domain_name", "project_domain_name")
            return {
                "auth_type": "password",
                "auth": {**{name: getattr(settings, name) for name in names}, "password": self._password},
            }
        endpoint = {"endpoint": settings.endpoint}
        if settings.username:
            return {
                "auth_type": "http_basic",
                "auth": {**endpoint, "username": settings.username, "password": self._password},
            }
        return {"auth_type": "none", "auth": endpoint}


def _read_password(name: str) -> str:
    if not name:
        return ""
    try:
        return Path(name).read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"neutron.password_file = {name!r}: cannot be read: {error}") from error


def _message(answer: Any) -> str:
    """Return what an error says, in Neutron's shape, Keystone's or none."""
    try:
        content = answer.json()
        found = content.get("NeutronError", content.get("error", content))
        return _words(str(found.get("message", found)) if isinstance(found, dict) else str(found))
    except (ValueError, AttributeError):
        return _words(answer.text or answer.reason or "")


def _words(text: str) -> str:
    return " ".join(text.split())[:WORDS_MAX]
