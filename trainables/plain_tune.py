"""Any system as a plain Ray Tune trainable, for people who keep their own Tuner, searcher and scheduler.

None of the platform is in it: no journal, no confirmation, no tracker. One result of Tune is one evaluation.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Trainable

from .artifacts import Artifact, ArtifactStore, Claim, Provenance, read_snapshot, write_snapshot
from .base import Snapshot, System, load_system
from .config import parse
from .errors import UserError, nearest
from .events import Evaluated, Event, Progress
from .request import TrialRequest
from .source_ref import KINDS, NOTHING, SourceRef, an
from .user_code.code import Code, names_code, read_code
from .user_code.known import declare
from .walk import Walk


@dataclass(frozen=True)
class Ask:
    """What every trial is asked, beside the settings that Tune proposes.

    Attributes:
        settings: by stage, what differs from the preset.
        code: the file of the user's own that the system is, if it is one.
    """

    system: str
    source: SourceRef
    preset: str = "default"
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    episodes: int = 20
    every_steps: int | None = None
    threads: int = 1
    device: str = "cpu"
    code: Code | None = None

    def request(self, trial: str, proposed: Mapping[str, Any]) -> TrialRequest:
        """The request of one trial.

        Args:
            proposed: settings as ``stage.field``, as mappings by stage, or by bare field where there is one stage.

        Raises:
            UserErrors: a setting is unknown or breaks a rule.
        """
        declare(self.system, self.code)
        system = load_system(self.system)
        values = {name: config.model_dump(mode="json") for name, config in self._preset(system).items()}
        for given in (self.settings, _by_stage(system, proposed)):
            for stage, settings in given.items():
                if stage not in values:
                    raise UserError("unknown stage", key=stage, fix=nearest(stage, values))
                values[stage] |= settings
        configs = {
            stage.name: parse(stage.config_type, values[stage.name], stage.name).model_dump(mode="json")
            for stage in system.stages
        }
        return TrialRequest(
            trial=trial, system=self.system, source=self.source, configs=configs, seeds=self.seeds,
            through=system.stages[-1].name, episodes=self.episodes, evaluate_every_steps=self.every_steps,
            threads=self.threads, device=self.device,
        )  # fmt: skip

    def _preset(self, system: System) -> Mapping[str, Any]:
        if self.preset not in system.presets:
            raise UserError(
                "unknown preset", key="preset", value=self.preset, fix=nearest(self.preset, system.presets)
            )
        return system.presets[self.preset]()


def _by_stage(system: System, proposed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, value in proposed.items():
        stage, dot, name = key.partition(".")
        if isinstance(value, Mapping) and not dot:
            found.setdefault(key, {}).update(value)
        elif dot:
            found.setdefault(stage, {})[name] = value
        elif len(system.stages) == 1:
            found.setdefault(system.stages[0].name, {})[key] = value
        else:
            raise UserError(
                "names no stage",
                key=key,
                value=value,
                fix=f"Write `{system.stages[-1].name}.{key}` or another stage.",
            )
    return found


def trainable(
    system: str,
    *,
    dataset: str | None = None,
    environment: str | None = None,
    problem: str | None = None,
    preset: str = "default",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: Sequence[int] = (0,),
    episodes: int = 20,
    evaluate_every_steps: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    store: ArtifactStore | None = None,
) -> type[Trainable]:
    """A system as a class that ``tune.Tuner`` takes.

    A trial's ``config`` holds settings as ``stage.field`` (``{"refine.kl_radius": tune.loguniform(3e-4, 3e-2)}``). It
    reports once per evaluation: every metric of the last stage as ``stage/metric``, averaged over the seeds, the newest
    training metrics among them, and ``step``. Tune's checkpoints hold all that a trial needs to go on, bit-equal on CPU.

    Args:
        system: a registered system, or a file and what it holds (``./train.py:train``).
        dataset, environment, problem: what it learns from, by the one kind it takes.
        preset: the complete configuration that ``settings`` and Tune's proposals amend.
        settings: by stage, what differs from the preset in every trial.
        seeds: trained as lanes of one program; the mean is reported.
        episodes: per seed at each evaluation.
        evaluate_every_steps: steps of the last stage between evaluations; only at its end when not given.
        threads: torch threads.
        device: torch device.
        store: where outputs of earlier stages are shared between trials; each trial computes its own when not given.
            ``flowsweep.trainable`` shares those of this home.

    Raises:
        UserError: there is no such system, or it learns from something else.
    """
    code = None
    if names_code(system):
        code = read_code(system, Path.cwd())
        declare(system, code)
    said = {"dataset": dataset, "environment": environment, "problem": problem}
    source = _source(load_system(system), said)
    ask = Ask(
        system, source, preset, dict(settings or {}), tuple(seeds), episodes, evaluate_every_steps, threads,
        device, code,
    )  # fmt: skip
    ask.request("trial", {})  # a mistake is told here, before anything is started
    return tune.with_parameters(PlainWalk, ask=ask, store=store)


def _source(system: System, said: Mapping[str, str | None]) -> SourceRef:
    wanted = system.learns_from
    given = {kind: name for kind, name in said.items() if name is not None}
    for kind, name in given.items():
        if kind != wanted:
            raise UserError(
                f"`{system.name}` learns from {an(wanted)}", key=kind, value=name, fix=f"Give `{wanted}=`."
            )
    if wanted not in KINDS:
        return NOTHING
    if wanted not in given:
        raise UserError(f"is missing: `{system.name}` learns from {an(wanted)}", key=wanted)
    return SourceRef(kind=wanted, name=given[wanted])


class PlainWalk(Trainable):
    """One trial of Tune's: a step walks up to the next evaluation."""

    def setup(self, config: dict[str, Any], ask: Ask, store: ArtifactStore | None) -> None:
        self._ask, self._store = ask, store
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        trial = self.trial_id if self.trial_id != "default" else "trial"
        self._folder = Path(str(self.logdir)) / "walk"
        self._request = self._ask.request(trial, config)
        self._walk: Walk | None = None
        self._events: Iterator[Event] = iter(())
        self._said: dict[str, float] = {}

    def step(self) -> dict[str, Any]:
        if self._walk is None:
            store = self._store or OwnStore(self._folder / "stages")
            self._walk = Walk(self._request, store, self._folder)
            self._events = iter(self._walk)
        last = self._request.through
        for event in self._events:
            if not isinstance(event, Progress | Evaluated) or event.stage != last:
                continue
            for name, lanes in event.metrics.items():
                self._said[f"{last}/{name}"] = sum(lanes) / len(lanes)
            if isinstance(event, Evaluated):
                return {**self._said, "step": event.step, "done": event.step >= event.steps}
        return {**self._said, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The walk's own checkpoint and what it has computed so far."""
        if self._walk is not None:
            self._walk.checkpoint()
        if self._folder.exists():
            shutil.copytree(self._folder, checkpoint_dir, dirs_exist_ok=True)

    def load_checkpoint(self, checkpoint: str | dict[str, Any] | None) -> None:
        """Go on from there, on whichever node this is."""
        self._walk, self._events = None, iter(())
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(str(checkpoint), self._folder)

    def cleanup(self) -> None:
        self._walk, self._events = None, iter(())


class OwnStore:
    """Outputs of stages in a trial's own folder, computed by it and used by nobody else."""

    def __init__(self, folder: Path):
        self._folder = folder

    def acquire(self, key: str, holder: str, wait_s: float = 0.0) -> Any:
        """What is there, or leave to compute it."""
        from .artifacts import Finished

        path = self._folder / key
        if path.is_dir():
            return Finished(Artifact(key, path, Provenance(), os.path.getmtime(path), 0))
        return OwnClaim(key, path)

    def load(self, key: str) -> Snapshot:
        """The stored output."""
        return read_snapshot(self._folder / key)


class OwnClaim:
    """Leave to compute an output."""

    reason: str | None = None

    def __init__(self, key: str, path: Path):
        self.key, self._path = key, path

    def publish(self, snapshot: Snapshot, provenance: Provenance) -> Artifact:
        """Store it."""
        write_snapshot(self._path, snapshot)
        return Artifact(self.key, self._path, provenance, os.path.getmtime(self._path), 0)

    def release(self) -> None:
        """Nobody waits for it."""

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()
