# SPDX-License-Identifier: Apache-2.0
"""The systemd units: complete, and verified by systemd itself where it is installed (Debian has it)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from portico.agent.drivers.sysctls import MODULES
from portico.cli.main import main
from portico.cli.units import files

PROGRAM = Path("/usr/bin/true")
UNITS = {path.name: text for path, text in files(PROGRAM) if path.suffix == ".service"}
# Each gives a service mounts of its own (systemd.exec(5)), in which /run/netns would be another than the host's.
OWN_MOUNTS = {
    "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateMounts", "ReadWritePaths", "ReadOnlyPaths",
    "InaccessiblePaths", "BindPaths", "TemporaryFileSystem", "ProtectKernelTunables", "ProtectKernelModules",
    "ProtectKernelLogs", "ProtectControlGroups", "ProtectProc", "ProcSubset", "RootDirectory", "DynamicUser",
    "MountFlags",
}  # fmt: skip


def test_units_writes_every_file_where_systemd_looks_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["units", "--to", str(tmp_path)]) == 0
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {
        "etc/systemd/system/portico.service",
        "etc/systemd/system/portico-api.service",
        "etc/systemd/system/portico-agent.service",
        "etc/systemd/system/portico-docker.service",
        "etc/tmpfiles.d/portico.conf",
        "etc/modules-load.d/portico.conf",
    }
    assert set(capsys.readouterr().out.split()) == {str(tmp_path / name) for name in written}
    program = str(Path(sys.executable).parent / "portico")
    assert f"ExecStart={program} up\n" in (tmp_path / "etc/systemd/system/portico.service").read_text()


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_no_fault_with_a_unit(name: str, tmp_path: Path) -> None:
    for unit, text in UNITS.items():
        (tmp_path / unit).write_text(text)
    program = shutil.which("systemd-analyze")
    assert program, "package systemd"
    done = subprocess.run(
        [program, "verify", "--man=no", "--recursive-errors=no", str(tmp_path / name)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["portico.service", "portico-agent.service", "portico-docker.service"])
def test_what_works_on_network_namespaces_shares_the_hosts_mounts(name: str) -> None:
    directives = {
        line.partition("=")[0] for line in UNITS[name].splitlines() if "=" in line and not line.startswith("#")
    }
    assert directives & OWN_MOUNTS == set()


@pytest.mark.parametrize("name", ["portico.service", "portico-agent.service"])
def test_the_modules_that_a_service_may_not_load_are_loaded_before_it_starts(name: str) -> None:
    lines = UNITS[name].splitlines()
    assert not any("CAP_SYS_MODULE" in line for line in lines)
    listed = [
        word for line in lines for word in line.partition("=")[2].split() if line.startswith(("Wants=", "After="))
    ]
    modules = dict(files(PROGRAM))[Path("etc/modules-load.d/portico.conf")].splitlines()
    for module in MODULES.values():
        assert listed.count(f"modprobe@{module}.service") == 2, "wanted, and waited for"
        assert module in modules


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "etc").write_text("a file")
    assert main(["units", "--to", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
