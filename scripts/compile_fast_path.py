# SPDX-License-Identifier: Apache-2.0
"""`python scripts/compile_fast_path.py [OUTPUT]`: compile the programs of the fast path, in the place of those shipped.

Needs clang-14, llvm-14 and libbpf-dev. The same source gives the same bytes.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "src/portico/agent/fast_path"
_WARNINGS = ("-Wall", "-Wextra", "-Werror")
# Of a kernel's headers for programs only those of the machine's kind are missing.
_HEADERS = f"-I/usr/include/{sysconfig.get_config_var('MULTIARCH') or 'x86_64-linux-gnu'}"
_NO_PATHS = ("-ffile-prefix-map=./=", "-fdebug-compilation-dir=.")


def main() -> None:
    """Compile; keep the types (BTF), by which libbpf knows the maps, and nothing else of what is for debuggers."""
    output = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else FOLDER / "programs.o"
    options = ["-O2", "-g", "-target", "bpf", "-mcpu=v2", "-fno-strict-aliasing", _HEADERS, *_WARNINGS, *_NO_PATHS]
    for argv in (
        ["clang-14", *options, "-c", "programs.c", "-o", str(output)],
        ["llvm-strip-14", "--strip-debug", "--discard-all", "--remove-section=.BTF.ext", str(output)],
    ):
        subprocess.run(argv, cwd=FOLDER, check=True)


if __name__ == "__main__":
    main()
