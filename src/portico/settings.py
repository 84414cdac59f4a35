# SPDX-License-Identifier: Apache-2.0
"""The settings of every Portico process: frozen values from a TOML file, the environment and the command line.

Later sources win: defaults, then the file (`/etc/portico/portico.toml` or `--config`), then `PORTICO_*` variables
(`PORTICO_AGENT_NETNS` is `agent.netns`; lists, and the NAME=VALUE of tables, are separated by commas), then options of
the command line.
`{state_dir}` and `{run_dir}` inside a value stand for those two settings.
"""

from __future__ import annotations

import difflib
import os
import socket
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from portico import settings_check
from portico.errors import SettingsError
from portico.settings_agent import AgentSettings
from portico.settings_broker import BrokerSettings
from portico.settings_docker import DockerSettings
from portico.settings_identity import SECRET_VARIABLES, HttpBasicSettings, KeystoneSettings, TlsSettings
from portico.settings_neutron import NeutronSettings
from portico.settings_observe import LogSettings, MetricsSettings, RateLimitSettings

DEFAULT_FILE = Path("/etc/portico/portico.toml")
ENVIRONMENT_PREFIX = "PORTICO_"


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The API server's own."""

    page_max: Annotated[int, Meta(ge=1, description="objects in one answer at most; longer lists come in pages")] = 1000
    connections_max: Annotated[
        int, Meta(ge=8, description="connections over TCP at most; further ones get 503 and are closed")
    ] = 1000
    drain_s: Annotated[
        float,
        Meta(ge=0, le=300, description="seconds between SIGTERM, from when /readyz says 503, and the end of listening"),
    ] = 0


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults of what is created."""

    mtu: Annotated[int, Meta(ge=576, le=65535, description="MTU of networks that name none, in bytes")] = 1500
    mac_base: Annotated[str, Meta(description="first three octets of generated MAC addresses")] = "fa:16:3e"
    dns_domain: Annotated[str, Meta(description="domain of ports' names where a network has none of its own")] = (
        "portico.internal"
    )
    vlan_ranges: Annotated[
        tuple[str, ...],
        Meta(description="VLAN IDs for networks of type vlan that name none: PHYSICAL_NETWORK:FIRST:LAST"),
    ] = ()
    block_v4: Annotated[
        int, Meta(ge=8, le=32, description="prefix length of hosts' blocks of routed IPv4 addresses; 32: no blocks")
    ] = 26
    block_v6: Annotated[
        int, Meta(ge=64, le=128, description="prefix length of hosts' blocks of routed IPv6 addresses; 128: no blocks")
    ] = 122


class QuotaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How many of each a project may have where it has no quota of its own; -1 is no limit."""

    network: Annotated[int, Meta(ge=-1, description="networks")] = -1
    subnet: Annotated[int, Meta(ge=-1, description="subnets")] = -1
    subnetpool: Annotated[int, Meta(ge=-1, description="subnet pools")] = -1
    port: Annotated[int, Meta(ge=-1, description="ports")] = -1
    security_group: Annotated[int, Meta(ge=-1, description="security groups")] = -1
    security_group_rule: Annotated[int, Meta(ge=-1, description="security group rules")] = -1
    rbac_policy: Annotated[int, Meta(ge=-1, description="RBAC policies")] = 100
    floatingip: Annotated[int, Meta(ge=-1, description="floating IPs")] = -1
    router: Annotated[int, Meta(ge=-1, description="routers")] = -1
    trunk: Annotated[int, Meta(ge=-1, description="trunks")] = -1
    router_route: Annotated[int, Meta(ge=-1, description="routes of one router besides those to its subnets")] = 30


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, checked. The names here, joined by dots, are the names in the file."""

    host: Annotated[str, Meta(description="name of this host in binding:host_id; the default is its host name")]
    state_dir: Annotated[Path, Meta(description="what must survive a reboot")] = Path("/var/lib/portico")
    run_dir: Annotated[Path, Meta(description="what need not")] = Path("/run/portico")
    database: Annotated[str, Meta(description="SQLAlchemy URL of the database")] = "sqlite:///{state_dir}/portico.db"
    listen: Annotated[
        tuple[str, ...], Meta(min_length=1, description="where the API listens: ADDRESS:PORT or unix:/PATH")
    ] = ("127.0.0.1:9696", "unix:{run_dir}/api.sock")
    api_url: Annotated[str, Meta(description="the API as agent, Docker plugin and commands reach it")] = (
        "unix:{run_dir}/api.sock"
    )
    api_user: Annotated[str, Meta(description="user of HTTP basic as whom they ask; empty: without a user")] = ""
    api_password_file: Annotated[str, Meta(description="file that holds the password of api_user")] = ""
    api_ca: Annotated[str, Meta(description="certificates that the API's may be signed by; empty: the system's")] = ""
    api_certificate: Annotated[
        str, Meta(description="file with certificate and key, for an API that has tls.client_ca; empty: none")
    ] = ""
    auth: Annotated[
        Literal["none", "http_basic", "keystone"],
        Meta(description="who may use the API over TCP; none: everybody who can connect"),
    ] = "none"
    policy_file: Annotated[
        str,
        Meta(
            description="rules that replace Neutron's of the same names, as YAML; empty: none. Not asked with auth none"
        ),
    ] = ""
    backends: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="what realises networks; the first those that nothing gives to another one"),
    ] = ("bridge", "routed")
    profile: Annotated[
        str, Meta(description="folder for a profile of each request of the API, for developers; empty: none")
    ] = ""
    default_project: Annotated[str, Meta(min_length=1, description="project of requests that name none")] = "default"
    api: ApiSettings = ApiSettings()
    agent: AgentSettings = AgentSettings()
    broker: BrokerSettings = BrokerSettings()
    docker: DockerSettings = DockerSettings()
    http_basic: HttpBasicSettings = HttpBasicSettings()
    keystone: KeystoneSettings = KeystoneSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    network: NetworkSettings = NetworkSettings()
    neutron: NeutronSettings = NeutronSettings()
    quota: QuotaSettings = QuotaSettings()
    rate_limit: RateLimitSettings = RateLimitSettings()
    tls: TlsSettings = TlsSettings()


class Field(NamedTuple):
    """One setting as `Settings` declares it. `type` keeps its annotations, so that converting checks them."""

    name: str
    type: Any
    description: str
    default: Any


class Given(NamedTuple):
    """A value before conversion. `source` says where it was read, for messages."""

    value: object
    source: str


def fields() -> Iterator[Field]:
    """Yield every setting in the order of declaration."""
    declared = {field.name: field.default for field in msgspec.structs.fields(Settings)}
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            defaults = hint()
            for inner, inner_hint in get_type_hints(hint, include_extras=True).items():
                yield _field(f"{name}.{inner}", inner_hint, getattr(defaults, inner))
        else:
            yield _field(name, hint, socket.gethostname() if name == "host" else declared[name])


def _field(name: str, hint: Any, default: object) -> Field:
    described = " ".join(m.description or "" for m in get_args(hint)[1:] if isinstance(m, Meta))
    return Field(name, hint, described, default)


def load(
    file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings from all sources.

    Args:
        file: None reads `DEFAULT_FILE` where it exists; a file that is named must exist.
        overrides: from the command line, by dotted name.
        environment: None is the environment of this process.

    Raises:
        SettingsError: one line that names the setting, its value, where it came from and the rule.
    """
    known = {field.name: field for field in fields()}
    given = {name: Given(field.default, "default") for name, field in known.items()}
    given |= _from_file(file, known)
    given |= _from_environment(os.environ if environment is None else environment, known)
    for name, text in (overrides or {}).items():
        if name not in known:
            raise SettingsError(f"command line: unknown setting {name!r}{_suggestion(name, known)}")
        given[name] = Given(text, "command line")
    values = {name: _convert(known[name], given[name]) for name in known}
    values = {name: _expand(value, values) for name, value in values.items()}
    for name, value in values.items():
        if problem := settings_check.problem(name, value):
            raise _wrong(name, given[name], problem)
    name, problem = settings_check.conflict(values)
    if problem:
        raise _wrong(name, given[name], problem)
    return _build(values)


def _from_file(file: Path | None, known: Mapping[str, Field]) -> dict[str, Given]:
    path = file or DEFAULT_FILE
    if file is None and not path.exists():
        return {}
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from error
    found = {name: Given(value, str(path)) for name, value in _flatten(document)}
    for name in found:
        if name not in known:
            raise SettingsError(f"{path}: unknown setting {name!r}{_suggestion(name, known)}")
    return found


def _flatten(document: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in document.items():
        if isinstance(value, dict):
            for inner, inner_value in value.items():
                yield f"{name}.{inner}", inner_value
        else:
            yield name, value


def _from_environment(environment: Mapping[str, str], known: Mapping[str, Field]) -> dict[str, Given]:
    """Return what `PORTICO_*` variables say.

    Only a variable that looks like a setting misspelt is an error: service managers and clusters put variables of
    their own, such as PORTICO_SERVICE_HOST, beside ours.
    """
    names = {variable_of(name): name for name in known}
    found = {}
    for variable, value in environment.items():
        if variable in names:
            found[names[variable]] = Given(value, variable)
        elif variable in SECRET_VARIABLES:
            continue
        elif variable.startswith(ENVIRONMENT_PREFIX) and (close := difflib.get_close_matches(variable, names, 1, 0.9)):
            raise SettingsError(f"environment: unknown variable {variable}; did you mean {close[0]}?")
    return found


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper().replace(".", "_")


def _suggestion(name: str, known: Mapping[str, Field]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _convert(field: Field, given: Given) -> object:
    value: object = given.value
    typed = given.source == "default" or not isinstance(value, str)
    kind = get_origin(get_args(field.type)[0])
    if isinstance(value, str) and kind in (tuple, dict):
        value = [part.strip() for part in value.split(",") if part.strip()]
        if kind is dict:
            value = _table(field, given, value)
    try:
        return msgspec.convert(value, field.type, strict=typed, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise _wrong(field.name, given, str(error).replace("`", "").lower()) from error


def _table(field: Field, given: Given, pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise _wrong(field.name, given, f"'{pair}' is not NAME=VALUE")
    return {name.strip(): text.strip() for name, _, text in (pair.partition("=") for pair in pairs)}


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise msgspec.ValidationError("Expected a path as text")


def _expand(value: object, values: Mapping[str, object]) -> object:
    if isinstance(value, str):
        for name in ("state_dir", "run_dir"):
            value = value.replace(f"{{{name}}}", str(values[name]))
    elif isinstance(value, tuple):
        value = tuple(_expand(part, values) for part in value)
    return value


def _wrong(name: str, given: Given, rule: str) -> SettingsError:
    return SettingsError(f"{name} = {given.value!r} ({given.source}): {rule}")


def _build(values: Mapping[str, object]) -> Settings:
    tree: dict[str, Any] = {}
    for name, value in values.items():
        section, _, inner = name.rpartition(".")
        if section:
            tree.setdefault(section, {})[inner] = value
        else:
            tree[inner] = value
    sections = {name: hint for name, hint in get_type_hints(Settings).items() if isinstance(tree[name], dict)}
    return Settings(**{name: sections[name](**value) if name in sections else value for name, value in tree.items()})


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the settings as variables: `load` with them gives the same settings, whatever the file says."""
    return {variable_of(field.name): _plain(_value_of(settings, field.name)) for field in fields()}


def _value_of(settings: Settings, name: str) -> object:
    value: object = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_plain, value))
    if isinstance(value, dict):
        return ",".join(f"{name}={text}" for name, text in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_toml(settings: Settings) -> str:
    """Return the settings as a file that `load` reads, with what each means as a comment."""
    lines: list[str] = []
    section = ""
    for field in fields():
        head, _, name = field.name.rpartition(".")
        if head != section:
            section = head
            lines += ["", f"[{section}]"]
        lines += [f"# {field.description}", f"{name} = {_toml(_value_of(settings, field.name))}"]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(text)}" for name, text in value.items()) + "}"
    if isinstance(value, str | Path):
        return msgspec.json.encode(str(value)).decode()
    return msgspec.json.encode(value).decode()
