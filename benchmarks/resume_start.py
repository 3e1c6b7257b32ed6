"""What an interruption costs: from `flowsweep resume` of a sweep whose driver was killed to its first new step.

    python benchmarks/resume_start.py [--repeats 3]

A tiny sweep of two concurrent trials is killed with all its processes once it trains, and resumed. Printed for each
resume: wall seconds to the first new step on record, and CPU-seconds that every kind of process had used by then. Wall time
says something on a machine that does nothing else; the load average stands beside it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil
from flowsweep.platform.drill.faults import SLOW
from flowsweep.platform.drill.rig import Rig
from flowsweep.trainables.events import Progress

KINDS = ("gcs_server", "raylet", "DashboardAgent", "RuntimeEnvAgent", "dashboard", "sender", "ray::")


def main() -> None:
    """Interrupt and resume; print one block per resume."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder) / "rig") as rig:
        process = rig.run(**{**SLOW, "stages__refine__steps": 4000})
        for _ in range(repeats):
            rig.until_events(process, 3, Progress, stage="refine")
            rig.kill_tree(process)
            steps = len(rig.entries(Progress))
            began_s, process = time.monotonic(), rig.resume()
            used = measured(rig, process.pid, steps)
            print(f"first new step after {time.monotonic() - began_s:.1f} s (load {os.getloadavg()[0]:.1f})")
            for kind, cpu_s in sorted(used.items(), key=lambda item: -item[1]):
                print(f"  {kind:<20}{cpu_s:6.2f} CPU-s")
            print(f"  {'together':<20}{sum(used.values()):6.2f} CPU-s", flush=True)
        rig.kill_tree(process)


def measured(rig: Rig, driver: int, steps: int) -> dict[str, float]:
    """Return CPU-seconds by kind of process, from the driver's start to the first step beyond those on record."""
    seen: dict[int, tuple[str, float]] = {}
    while len(rig.entries(Progress)) <= steps:
        for process in (psutil.Process(driver), *psutil.Process(driver).children(recursive=True)):
            try:
                times = process.cpu_times()
                seen[process.pid] = kind_of(process, driver), times.user + times.system
            except psutil.Error:
                continue
        time.sleep(0.1)
    used: defaultdict[str, float] = defaultdict(float)
    for kind, cpu_s in seen.values():
        used[kind] += cpu_s
    return used


def kind_of(process: psutil.Process, driver: int) -> str:
    """Return what a process is, from its name and command."""
    if process.pid == driver:
        return "driver"
    said = f"{process.name()} {' '.join(process.cmdline())}"
    return next(("worker" if kind == "ray::" else kind for kind in KINDS if kind in said), "other")


if __name__ == "__main__":
    main()
