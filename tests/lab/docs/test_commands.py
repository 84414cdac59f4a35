# SPDX-License-Identifier: Apache-2.0
"""The commands of the documents, run as they stand there: every block that is marked `sh`."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from portico.testing.lab import DockerEngine, Lab, LabHost, wait_until

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PATH = f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"


def blocks(document: str) -> list[str]:
    return [textwrap.dedent(match[2]) for match in BLOCK.finditer((ROOT / document).read_text())]


@pytest.fixture
def host() -> Iterator[LabHost]:
    """A host with `portico up`, a Docker Engine, and an image that is called busybox."""
    with Lab() as lab:
        made = lab.host("h1")
        up = made.spawn([BIN / "portico", "up"], log="up")
        up.wait_for_text("Docker plugin listens", timeout_s=30)
        with DockerEngine(made) as engine:
            engine.load()
            engine.docker("tag", "portico/demo:latest", "busybox:latest", check=True)
            yield made
        wait_until("up ends", lambda: up.stop() == 0, 15, up.tail)


@pytest.mark.parametrize("document", ["README.md", "docs/docker.md", "docs/operate.md"])
def test_every_command_of_a_document_does_what_it_says(host: LabHost, document: str) -> None:
    found = blocks(document)
    assert found
    for script in found:
        done = host.run(["sh", "-e", "-c", script], env={"PATH": PATH}, timeout_s=120, check=False)
        assert done.ok, f"{document}:\n{script}\n{done.out}\n{done.err}"
    left = host.run([BIN / "portico", "network", "list", "-f", "value"], env={"PATH": PATH})
    assert left.out == "", "what a document makes, it takes away"
