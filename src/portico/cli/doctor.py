# SPDX-License-Identifier: Apache-2.0
"""`portico doctor`: what Portico needs of this machine, tried out, with the way to get what is missing."""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from portico.agent import packet_log, tagging
from portico.agent.drivers import related
from portico.agent.fast_path import programs
from portico.cli import output, probe
from portico.cli.context import Context
from portico.client import Client
from portico.errors import PorticoError, SettingsError, Unavailable
from portico.model.l3 import HELPERS
from portico.settings import Settings
from portico.settings_check import TcpAddress, UnixAddress, parse_listen

# The first Docker Engine that the plugin is tested with.
DOCKER_OLDEST = (20, 10)
SBIN = "/usr/sbin:/sbin"


class Finding(NamedTuple):
    """One check. `state`: ok, missing (Portico cannot work), or absent (a part of it cannot)."""

    check: str
    state: str
    detail: str
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the form."""
    parser.add_argument("-f", "--format", choices=("text", "json"), default="text", help="how to print (default: text)")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the findings; the exit code is 1 when something is missing."""
    findings = []
    for check in CHECKS:
        for finding in check(context.settings):
            findings.append(finding)
            if arguments.format == "text":
                sys.stdout.write(_text(finding))
                sys.stdout.flush()
    missing = sum(finding.state == "missing" for finding in findings)
    if arguments.format == "json":
        sys.stdout.write(output.document([finding._asdict() for finding in findings], "json"))
    else:
        sys.stdout.write("this machine can run Portico\n" if not missing else f"missing: {missing}\n")
    return 1 if missing else 0


def _text(finding: Finding) -> str:
    line = f"{finding.state:<8} {finding.check:<22} {finding.detail}".rstrip() + "\n"
    return line + (f"{'':<8} {'':<22} get it: {finding.remedy}\n" if finding.remedy else "")


def check_root(_: Settings) -> Iterator[Finding]:
    """Root, without which nothing else can be tried."""
    if os.geteuid() == 0:
        yield Finding("root", "ok", "")
    else:
        yield Finding("root", "missing", f"user {os.geteuid()}", "sudo portico doctor")


def check_kernel(_: Settings) -> Iterator[Finding]:
    """Every feature, in a namespace of its own."""
    try:
        found = probe.kernel()
    except OSError as error:
        yield Finding("network namespaces", "missing", error.strerror or str(error), "run as root, outside a container")
        return
    yield Finding("network namespaces", "ok", os.uname().release)
    for feature, problem in found:
        if problem:
            state = "absent" if feature.only_for else "missing"
            detail = f"{problem}; for {feature.only_for} alone" if feature.only_for else problem
            yield Finding(feature.name, state, detail, f"modprobe -a {feature.module}")
        else:
            yield Finding(feature.name, "ok", "")


def check_filter(_: Settings) -> Iterator[Finding]:
    """The agent's own rules."""
    try:
        problem, no_translation = probe.filter_rules(), probe.refusal(probe.TRANSLATION)
    except OSError as error:
        yield Finding("nftables", "missing", str(error), "apt-get install libnftables1; run as root")
        return
    if problem:
        yield Finding("nftables", "missing", problem, "modprobe -a nf_tables nf_conntrack; libnftables 1.0.6 or newer")
    else:
        yield Finding("nftables", "ok", "the agent's rules load: bridge family, conntrack zones, marks")
    if no_translation:
        yield Finding("address translation", "missing", no_translation, "modprobe -a nf_nat nft_chain_nat nft_masq")
    else:
        yield Finding("address translation", "ok", "")


def check_helpers(_: Settings, lack: Callable[[str, str], str] = related.lack) -> Iterator[Finding]:
    """What reads along in connections for routers; all else works without."""
    pairs = [(helper, protocol) for helper, protocols in HELPERS.items() for protocol in protocols]
    try:
        reasons = [why for pair in pairs if (why := lack(*pair))]
    except OSError as error:
        reasons = [error.strerror or str(error)]
    if reasons:
        remedy = f"modprobe -a {' '.join(f'nf_nat_{helper}' for helper in HELPERS)}; run as root"
        yield Finding("conntrack helpers", "absent", f"{'; '.join(reasons)}; for routers that have them alone", remedy)
    else:
        yield Finding("conntrack helpers", "ok", ", ".join(HELPERS))


def check_fast_path(settings: Settings) -> Iterator[Finding]:
    """What lets established connections take the short way; all else works without."""
    if not settings.agent.fast_path:
        yield Finding("fast path", "absent", "switched off (agent.fast_path)")
    elif lack := programs.lacks():
        remedy = "libbpf1, which iproute2 needs too; Linux 5.11 or newer; run as root"
        yield Finding("fast path", "absent", f"{lack}; every packet takes the long way", remedy)
    else:
        yield Finding("fast path", "ok", "")


def check_packet_log(_: Settings) -> Iterator[Finding]:
    """What tells which packets security groups let in and refuse; all else works without."""
    try:
        lack = packet_log.lack()
    except OSError as error:
        lack = str(error)
    if lack:
        detail = f"{lack}; for logs of security groups alone"
        yield Finding("packet log", "absent", detail, f"modprobe -a {' '.join(packet_log.MODULES)}; run as root")
    else:
        yield Finding("packet log", "ok", "")


def check_interfaces(settings: Settings) -> Iterator[Finding]:
    """Interfaces of the physical networks that the settings name, and what joins networks with them."""
    for name, interface in settings.agent.physical_networks.items():
        check = f"physical network {name}"
        if not Path("/sys/class/net", interface).exists():
            yield Finding(check, "missing", f"there is no interface {interface}", "change `agent.physical_networks`")
        elif lack := tagging.lacks():
            yield Finding(
                check, "missing", lack, "a kernel with CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF; run as root"
            )
        else:
            yield Finding(check, "ok", interface)


def check_tools(_: Settings) -> Iterator[Finding]:
    """Programs that the agent starts."""
    found = shutil.which("dnsmasq", path=f"{os.environ.get('PATH', '')}:{SBIN}")
    if found:
        yield Finding("dnsmasq", "ok", found)
    else:
        yield Finding("dnsmasq", "missing", "it gives VMs their addresses", "apt-get install dnsmasq-base")
    found = shutil.which("bird", path=f"{os.environ.get('PATH', '')}:{SBIN}")
    if found:
        yield Finding("bird", "ok", found)
    else:
        detail = "without BIRD no other host and no router learns of this host's routed ports"
        yield Finding("bird", "absent", detail, "apt-get install bird2")


def check_docker(settings: Settings) -> Iterator[Finding]:
    """The Docker Engine, where the plugin is wanted."""
    if not settings.docker.enabled or not settings.docker.engine_socket:
        return
    remedy = "apt-get install docker.io; or do without: docker.enabled = false"
    try:
        with Client(f"unix:{settings.docker.engine_socket}", timeout_s=5) as client:
            version = str(client.get_json("/version")["Version"])
    except (Unavailable, KeyError, TypeError):
        yield Finding("docker engine", "absent", f"does not answer at {settings.docker.engine_socket}", remedy)
        return
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < DOCKER_OLDEST:
        yield Finding("docker engine", "absent", f"{version} is older than 20.10", "apt-get install docker.io")
    else:
        yield Finding("docker engine", "ok", version)


def check_identity(settings: Settings) -> Iterator[Finding]:
    """Whether the API can tell who asks, and has a certificate to show."""
    if settings.http_basic.file and settings.auth != "none":
        from portico.identity import htpasswd

        try:
            count = len(htpasswd.read(Path(settings.http_basic.file)).hashes)
        except SettingsError as error:
            yield Finding("users", "missing", error.message, f"htpasswd -B {settings.http_basic.file} NAME")
        else:
            yield Finding("users", "ok", f"{settings.http_basic.file}: {count} users")
    if settings.auth == "keystone":
        from portico.identity.keystone_server import KeystoneServer

        try:
            # Keystone looks whether we may ask before it looks for the token.
            KeystoneServer(settings.keystone).validate("portico-doctor", may_be_expired=False)
        except (SettingsError, Unavailable) as error:
            yield Finding("keystone", "missing", error.message, "docs/identity.md: what Portico needs in Keystone")
        else:
            yield Finding("keystone", "ok", f"{settings.keystone.auth_url} validates tokens for us")
    if settings.tls.certificate:
        from portico.api.tls import Tls

        try:
            Tls(settings.tls)
        except SettingsError as error:
            yield Finding("certificate", "missing", error.message, "change `tls.certificate` and `tls.key`")
        else:
            yield Finding("certificate", "ok", settings.tls.certificate)


def check_listen(settings: Settings) -> Iterator[Finding]:
    """Whether the API can listen where it should."""
    for text in settings.listen:
        address = parse_listen(text)
        if _portico_answers(text, bool(settings.tls.certificate)):
            yield Finding("listen", "ok", f"{text}: Portico answers there already")
        elif problem := _cannot_listen(address):
            yield Finding("listen", "missing", f"{text}: {problem}", "end what listens there, or change `listen`")
        else:
            yield Finding("listen", "ok", f"{text} is free")


def _portico_answers(text: str, has_tls: bool) -> bool:
    if text.startswith("unix:") or not has_tls:
        url = text if text.startswith("unix:") else f"http://{text}"
        try:
            with Client(url, timeout_s=2) as client:
                return "version" in client.get_json("/healthz")
        except (PorticoError, TypeError, ValueError):
            return False
    context = ssl.create_default_context()
    # Nothing is told or believed but that Portico is there; its certificate may be for another name.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(text, timeout=2, context=context)
    try:
        connection.request("GET", "/healthz")
        return b'"version"' in connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _cannot_listen(address: TcpAddress | UnixAddress) -> str:
    if isinstance(address, UnixAddress):
        return _not_writable(address.path.parent)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address.host, address.port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _not_writable(directory: Path) -> str:
    """Return why a file cannot be made in a directory that may itself have to be made."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    if not there.is_dir():
        return f"{there} is not a directory"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} is not writable"


def check_database(settings: Settings) -> Iterator[Finding]:
    """Whether the database opens and has a schema that this program knows."""
    from portico.model.load import load
    from portico.store import schema
    from portico.store.store import Store

    path = settings.database.partition("sqlite:///")[2]
    if path and not Path(path).exists():
        problem = _not_writable(Path(path).parent)
        remedy = "change `state_dir` or `database`" if problem else ""
        yield Finding("database", "missing" if problem else "ok", problem or f"{path} will be made", remedy)
        return
    store = Store(settings.database, load())
    try:
        found = schema.version(store)
    except PorticoError as error:
        yield Finding("database", "missing", error.message, "change `database`, or start its server")
        return
    finally:
        store.close()
    if found is not None and found > schema.HEAD:
        yield Finding("database", "missing", f"schema {found} is newer than {schema.HEAD}", "install the newer Portico")
    else:
        yield Finding("database", "ok", f"schema {found or 'absent'}; this program's is {schema.HEAD}")


def check_systemd(_: Settings) -> Iterator[Finding]:
    """Whether the units are of use."""
    if Path("/run/systemd/system").is_dir():
        yield Finding("systemd", "ok", "`portico units` installs the units")
    else:
        yield Finding("systemd", "absent", "not running here; start `portico up` by other means")


CHECKS: Iterable[Callable[[Settings], Iterator[Finding]]] = (
    check_root,
    check_kernel,
    check_filter,
    check_helpers,
    check_fast_path,
    check_packet_log,
    check_interfaces,
    check_tools,
    check_docker,
    check_identity,
    check_listen,
    check_database,
    check_systemd,
)
