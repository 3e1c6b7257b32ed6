"""Output that goes away: short commands end quietly, what takes time goes on without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from flowsweep.platform.cli import output

COMMAND = f"{sys.executable} -P -m flowsweep.platform.cli"
LONG = """
import sys
from flowsweep.platform.cli.output import guarded, optional
with guarded(), optional("The work goes on."):
    for number in range(20_000):
        print("line", number)
    sys.stdout.flush()
    print("done", file=sys.stderr)
"""


@pytest.fixture
def shell(tmp_path: Path):
    """Run a line of bash in which `$F` is flowsweep; its exit codes, and what came on standard error."""

    def run(line: str) -> tuple[str, str]:
        codes = tmp_path / "codes"
        done = subprocess.run(
            ["bash", "-c", f'F="{COMMAND}"; {line}; echo "${{PIPESTATUS[@]}}" > {codes}'],
            env={**os.environ, "FLOWSWEEP_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        return codes.read_text().strip(), done.stderr

    return run


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(shell):
    codes, said = shell("$F --help | head -1 > /dev/null")
    assert (codes in ("141 0", "0 0"), said) == (True, "")
    codes, said = shell("(sleep 1; $F --help) | exec true")
    assert (codes, said) == ("141 0", "")


@pytest.mark.parametrize(
    "line", ["$F --help > /dev/full", "$F list > /dev/full", "$F list --json > /dev/full"]
)
def test_a_full_disk_is_told_in_one_line_and_by_the_exit_code(shell, line):
    assert shell(line) == ("1", "Error: the output cannot be written: No space left on device.\n")


@pytest.mark.parametrize("line", ["$F list >&-", "$F --version >&- 2>&-", "$F list <&- >&-"])
def test_closed_standard_files_are_nobodys_loss(shell, line):
    assert shell(line) == ("0", "")


@pytest.mark.parametrize(("where", "why"), [("| head -1 > /dev/null", "Broken pipe"), ("> /dev/full", "No space left on device")])  # fmt: skip
def test_long_work_goes_on_and_says_so_once(tmp_path: Path, where, why):
    script = tmp_path / "long.py"
    script.write_text(LONG)
    done = subprocess.run(
        f"{sys.executable} {script} {where}", shell=True, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == f"The output has gone away ({why}). The work goes on.\ndone\n"


def test_outside_the_command_line_nothing_is_guarded(capsys):
    with output.optional("It goes on."):
        print("seen")
    assert capsys.readouterr().out == "seen\n"
