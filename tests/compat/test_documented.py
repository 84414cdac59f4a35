# SPDX-License-Identifier: Apache-2.0
"""docs/clients.md: its `clouds.yaml`, commands and script as they stand there. Those that need Ansible or a Keystone
are tried by tests/conformance."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from .conftest import API_ADDRESS, TIMEOUT_S, Commands, api

DOCUMENT = Path(__file__).parents[2] / "docs/clients.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(DOCUMENT.read_text()) if found == language]


def clouds(auth_type: str, url: str) -> str:
    """Return the document's `clouds.yaml` for this kind of authentication, with another address of the API."""
    (text,) = (block for block in blocks("yaml") if f"auth_type: {auth_type}\n" in block)
    assert API_ADDRESS in text
    return text.replace(API_ADDRESS, url)


@pytest.fixture(scope="module", params=["none", "http_basic"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the document's `clouds.yaml`, whose address is that of an API."""
    folder = tmp_path_factory.mktemp("home")
    users = folder / "users"
    users.write_text(f"alice:{bcrypt.hashpw(b'wonderland', bcrypt.gensalt(4)).decode()}\n")
    settings = {"none": [], "http_basic": ["--auth", "http_basic", "--http-basic-file", str(users)]}
    with api(folder, *settings[request.param]) as url:
        (folder / "clouds.yaml").write_text(clouds(request.param, url))
        yield folder


def test_the_commands(home: Path) -> None:
    (script,) = blocks("sh")
    with Commands(home, "--os-cloud", "portico") as run:
        for line in script.splitlines():
            run(line.removeprefix("openstack "))
        assert run("network list") == []


def test_the_script(home: Path) -> None:
    (script,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT_S, cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "192.0.2.2\n"), done.stderr
