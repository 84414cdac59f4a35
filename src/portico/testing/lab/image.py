# SPDX-License-Identifier: Apache-2.0
"""Container images made on the spot, from Debian's busybox-static and other programs of this machine: no registry.

The archive is what `docker load` reads ("docker save" format, Docker image specification v1.2).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

BUSYBOX = Path("/bin/busybox")

ETC = {
    "etc/passwd": b"root:x:0:0:root:/:/bin/sh\n",
    "etc/group": b"root:x:0:\n",
}


def applets() -> list[str]:
    """Return the names of the commands that busybox has."""
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    return listed.stdout.split()


def program_files(name: str) -> dict[str, bytes]:
    """Return a program of this machine and the libraries it loads, by path without the leading slash.

    Raises:
        FileNotFoundError: the program is not installed; names it.
    """
    program = shutil.which(name)
    if program is None:
        raise FileNotFoundError(f"program {name}: not installed")
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    paths = [program, *re.findall(r"(/\S+) \(0x", listed)]
    return {path.lstrip("/"): Path(path).read_bytes() for path in paths}


def archive(tag: str, programs: Sequence[str] = ()) -> bytes:
    """Return an image archive tagged `tag` with busybox, links for all its commands, and further `programs`."""
    files = {"bin/busybox": BUSYBOX.read_bytes(), **ETC}
    for program in programs:
        files.update(program_files(program))
    links = {f"bin/{name}": "busybox" for name in applets() if name != "busybox"}
    layer = _tar(files, links)
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
            "os": "linux",
            "config": {"Env": ["PATH=/bin:/usr/bin:/usr/sbin"], "Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": [f"{digest}/layer.tar"]}]).encode()
    return _tar({name: config, f"{digest}/layer.tar": layer, "manifest.json": manifest}, {})


def _tar(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for directory in ("proc", "sys", "dev", "tmp"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        for path, target in sorted(links.items()):
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return output.getvalue()
