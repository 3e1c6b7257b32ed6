"""`--version` and `--help` answer at once: what takes long to import is imported by the command that needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "ray",
    "mlflow",
    "optuna",
    "scipy",
    "numpy",
    "pandas",
    "pyarrow",
    "matplotlib",
    "gymnasium",
    "minari",
)
LOOK = """
import sys, time
sys.argv = ["flowsweep", *sys.argv[1:]]
from flowsweep.platform import cli
try:
    cli.main()
except SystemExit:
    pass
print("LOADED", *sorted(set(sys.modules) & set({heavy!r})), file=sys.stderr)
print("CPU_S", time.process_time(), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"], ["cluster", "--help"]])
def test_nothing_heavy_is_imported_to_answer(arguments):
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOOK.format(heavy=HEAVY), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded, cpu_s = done.stderr.strip().splitlines()[-2:]
    assert loaded == "LOADED"
    assert float(cpu_s.split()[1]) < 1.0, "0.3 CPU-seconds on a machine that does nothing else"
