"""The rungs of `fidec_ladder.py`: which methods there are, and the ordinary sweep that each of them is."""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from flowsweep.platform.journal.state import SweepState, read_sweep
from flowsweep.platform.paths import Home, SweepPaths
from flowsweep.platform.sweep.plan import make_plan
from flowsweep.platform.sweep.spec import SweepSpec
from flowsweep.search_spaces.parameters import named_space
from flowsweep.trainables.base import load_system
from flowsweep.trainables.config import parse
from flowsweep.trainables.errors import UserError

INTERRUPTED = 130


@dataclass(frozen=True)
class Method:
    """One rung: which system with which preset, the stage that is scored, and the named space searched."""

    system: str
    preset: str
    stage: str
    space: str | None


METHODS = {
    "bc": Method("fidec", "bc", "pretrain", None),
    "deflow": Method("fidec", "deflow", "refine", "default"),
    "fql": Method("fql", "default", "distill", "normalized"),
    "ifql": Method("ifql", "default", "value", "default"),
    "rebrac": Method("rebrac", "default", "actor_critic", "default"),
    "fidec": Method("fidec", "default", "refine", "default"),
    "fidec-official": Method("fidec", "official", "refine", "default"),
    "fidec-joint": Method("fidec-joint", "official", "joint", "default"),
}
USUAL = tuple(name for name in METHODS if name != "fidec-joint")


def sweep_spec(name: str, method: Method, options: argparse.Namespace) -> dict[str, Any]:
    """The sweep of one method, without its name."""
    system = load_system(method.system)
    defaults = system.presets[method.preset]()
    space = named_space(method.system, options.space.get(name, method.space)) if method.space else {}
    first = {key: getattr(defaults[key.split(".")[0]], key.split(".")[1]) for key in space}
    return {
        "system": method.system,
        "dataset": options.dataset,
        "preset": method.preset,
        "stages": amendments(method, options),
        "space": {key: parameter.model_dump(mode="json") for key, parameter in space.items()},
        "objective": {"metric": f"{method.stage}/{options.metric}", "direction": "maximize"},
        "search": {"trials": options.trials if space else 1, "seed": 0, "fixed": [first] if space else []},
        "evaluation": {"episodes": options.episodes},
        "seeds": {"tune": options.tune_seeds, "test": options.seeds},
        "confirm": {"top": 1, "episodes": options.episodes},
        "resources": {"concurrent": options.concurrent},
    }


def amendments(method: Method, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What every method shares, for each of its stages that has such a field; then what ``--set`` says."""
    system, found = load_system(method.system), {}
    for stage in system.stages:
        fields = stage.config_type.model_fields
        # Stages without networks (FiDec's pools) have steps of another meaning.
        shared = {"steps": options.steps, "hidden": options.hidden} if "hidden" in fields else {}
        shared["discount"] = options.discount
        found[stage.name] = {key: value for key, value in shared.items() if key in fields}
    for key, value in options.set:
        stage, _, field = key.partition(".")
        if stage in found:
            found[stage][field] = value
    return found


def carried_out(name: str, method: Method, options: argparse.Namespace) -> SweepState:
    """The finished sweep of one method: reused, continued or run now.

    Raises:
        UserError: it cannot work, or did not finish.
    """
    return finished_sweep(f"ladder-{name}", sweep_spec(name, method, options))


def finished_sweep(prefix: str, wanted: Mapping[str, Any]) -> SweepState:
    """Reuse, continue or run a sweep, found again by its content.

    Args:
        prefix: the beginning of its name.
        wanted: the sweep without its name.

    Raises:
        UserError: it cannot work, or did not finish.
    """
    home = Home.default()
    plan = make_plan(parse(SweepSpec, {"name": "anything", **wanted}), home)
    content = json.dumps([wanted, plan.fingerprint], sort_keys=True)
    paths = home.sweep(f"{prefix}-{hashlib.sha256(content.encode()).hexdigest()[:8]}")
    if not finished(paths):
        estimate = f"at most {plan.core_h * 3600:,.0f} core-seconds of training by estimate"
        print(f"{paths.name}: {estimate}", file=sys.stderr, flush=True)
        command(paths, wanted)
    record = read_sweep(paths)
    if record.status != "finished":
        raise UserError(
            f"the sweep is {record.status}",
            key="sweep",
            value=paths.name,
            fix=f"See `flowsweep show {paths.name}`.",
        )
    return record


def finished(paths: SweepPaths) -> bool:
    """Whether the sweep needs nothing more."""
    return paths.journal.exists() and read_sweep(paths).status == "finished"


def command(paths: SweepPaths, wanted: Mapping[str, Any]) -> None:
    """Run or resume by the command line.

    Raises:
        KeyboardInterrupt: it was asked to stop, and has stored everything.
        UserError: it failed.
    """
    flowsweep = [sys.executable, "-m", "flowsweep.platform.cli"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sweep.yaml"
        file.write_text(yaml.safe_dump({"name": paths.name, **wanted}))
        words = ["resume", paths.name] if paths.journal.exists() else ["run", str(file)]
        # Ctrl-C reaches the child as well, which then stores its state: wait for it instead of killing it.
        previous = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            done = subprocess.run([*flowsweep, *words, "--quiet"], capture_output=True, text=True)
        finally:
            signal.signal(signal.SIGINT, previous)
    if done.returncode == INTERRUPTED:
        raise KeyboardInterrupt
    if done.returncode:
        raise UserError(
            f"flowsweep {words[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}",
            key="sweep",
            value=paths.name,
        )
