# SPDX-License-Identifier: Apache-2.0
"""The entry point: help, settings, and errors."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from portico import __version__, settings
from portico.cli.main import COMMANDS, RENAMED, main, resource_words
from portico.model.load import load

PORTICO = (sys.executable, "-m", "portico.cli")
DOCS = Path(__file__).parents[3] / "docs" / "api"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PORTICO, *words], capture_output=True, text=True, timeout=30, check=False)


def test_help_is_quick_because_it_loads_nothing_that_it_does_not_need() -> None:
    # Processor time, against an interpreter that does nothing, so that a busy machine does not matter.
    def seconds(*argv: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(argv, capture_output=True, timeout=30, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    ours = min(seconds(*PORTICO, "--help") for _ in range(5))
    bare = min(seconds(sys.executable, "-c", "import argparse") for _ in range(5))
    assert ours - bare < 0.1


def test_help_names_every_command_and_every_collection() -> None:
    text = run("--help").stdout
    words = [*COMMANDS, *(RENAMED.get(word, word).replace("_", "-") for word in resource_words())]
    assert [word for word in words if f"\n  {word}" not in text] == []


def test_the_collections_are_those_of_the_registry() -> None:
    assert resource_words() == set(load().resources)


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_has_help(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([word, "--help"])
    assert exit_.value.code == 0
    assert f"usage: portico {word}" in capsys.readouterr().out


def test_the_reference_of_collections_is_printed_by_their_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference", "qos-policy", "security-group"]) == 0
    printed = capsys.readouterr().out
    for name in ("policy", "security_group"):
        assert (DOCS / f"{name}.md").read_text().partition("\n")[2] in printed
    assert main(["reference", "policy"]) == 1
    assert "there is no collection policy; known are: address-group, " in capsys.readouterr().err


def test_an_unknown_command_is_wrong_usage_with_a_suggestion() -> None:
    done = run("netwrk", "list")
    assert done.returncode == 2
    assert "no command 'netwrk'; did you mean 'network'?" in done.stderr


def test_the_version_is_the_packages() -> None:
    assert run("--version").stdout == f"portico {__version__}\n"


def test_settings_prints_what_options_files_and_set_say(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('host = "file"\n[log]\nlevel = "debug"\n')
    done = run("--config", str(tmp_path / "p.toml"), "--set", "network.mtu=1400", "settings", "--host", "option")
    (tmp_path / "printed.toml").write_text(done.stdout)
    printed = settings.load(tmp_path / "printed.toml", environment={})
    assert (printed.host, printed.log.level, printed.network.mtu) == ("option", "debug", 1400)


def test_a_wrong_setting_is_one_line_and_exit_code_1() -> None:
    done = run("--set", "network.mtu=9", "settings")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "portico: network.mtu = '9' (command line): expected int >= 576\n"


def test_an_api_that_does_not_answer_is_named(tmp_path: Path) -> None:
    done = run("--config", os.devnull, "--url", f"unix:{tmp_path}/s", "network", "list")
    assert (done.returncode, done.stderr) == (
        1,
        f"portico: the API at unix:{tmp_path}/s does not answer: No such file or directory\n",
    )


def test_a_reader_that_has_had_enough_is_no_traceback() -> None:
    with subprocess.Popen([*PORTICO, "settings"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b""
