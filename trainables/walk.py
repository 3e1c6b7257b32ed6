"""One trial's way through the stages of its system: reuse what is stored, compute what is not, score the last."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .acceleration import check_acceleration
from .artifacts import ArtifactStore, Claim, Damaged, Finished, Held, Provenance, write_snapshot, write_text
from .base import Lane, Learner, Snapshot, Stage, identity_key, load_system
from .code_version import code_version
from .config import parse
from .events import Event, Produced, StageComputed, StageReused, Waiting
from .lane_groups import LaneGroups
from .request import TrialRequest
from .training import Training, evaluated

if TYPE_CHECKING:
    from .spread import Spread

POLL_S = 0.5


class Walk:
    """Walks a request through its stages, saying what happens.

    Iterating yields events. The walk may be abandoned after any of them; a new walk over the same folders
    continues from the last checkpoint, bit-equal on CPU.

    Args:
        request: what to do.
        store: where finished stages are shared.
        folder: this trial's own folder, for its checkpoints, final outputs and pictures.
    """

    def __init__(self, request: TrialRequest, store: ArtifactStore, folder: Path):
        self.request, self.store, self.folder = request, store, folder
        self.system = load_system(request.system)
        self.source = self.system.open_source(request.source.name)
        position = self.system.stages.index(self.system.stage(request.through))
        self.stages = self.system.stages[: position + 1]
        self.configs = {
            stage.name: parse(stage.config_type, dict(request.configs[stage.name]), stage.name)
            for stage in self.stages
        }
        self._training: Training | Spread | None = None
        self._outputs: dict[int, dict[str, Snapshot]] = {seed: {} for seed in request.seeds}
        self._keys: dict[int, dict[str, str]] = {seed: {} for seed in request.seeds}

    def __iter__(self) -> Iterator[Event]:
        import torch

        check_acceleration(self.request.acceleration)
        torch.set_num_threads(self.request.threads)
        self.stages[-1].check(self.source, self.request.metrics)
        write_text(self.folder / "request.json", self.request.model_dump_json(indent=2))
        yield Produced(path="request.json", role="config")
        last = self.stages[-1]
        # Only the stage that ends the whole system is a trial's own; every earlier one may serve others.
        own = last if last is self.system.stages[-1] else None
        for stage in self.stages:
            if stage is not own:
                yield from self._obtain(stage)
        learner = (yield from self._learn(last)) if own else (yield from self._score(last))
        if self.request.illustrate:
            for path in learner.illustrate(self.folder / "media", self.request.seeds):
                yield Produced(path=f"media/{path.name}", role="media")

    def checkpoint(self) -> Event | None:
        """Store the stage in progress, so that leaving now loses nothing."""
        return self._training.save() if self._training else None

    def _obtain(self, stage: Stage) -> Iterator[Event]:
        """Have a stage's output for every seed: from the store, or computed here when nobody else is at it."""
        missing = list(self.request.seeds)
        lost: dict[int, str] = {}
        while missing:
            waiting: Waiting | None = None
            for seed in list(missing):
                key = self._key(stage, seed)
                answer = self.store.acquire(key, self.request.trial)
                if isinstance(answer, Held):
                    waiting = Waiting(stage=stage.name, key=key, holder=answer.holder)
                    continue
                if not isinstance(answer, Finished):
                    yield from self._compute(stage, seed, answer, lost.get(seed))
                try:
                    self._outputs[seed][stage.name] = self.store.load(key)
                except (Damaged, KeyError) as error:
                    # Lost since it was asked for: asked for once more, and computed.
                    how = f"damaged: {error.what}" if isinstance(error, Damaged) else "removed"
                    lost[seed] = f"the stored output was {how}"
                    continue
                if isinstance(answer, Finished):
                    saved_cpu_s = answer.artifact.provenance.cpu_s
                    yield StageReused(stage=stage.name, key=key, seed=seed, saved_cpu_s=saved_cpu_s)
                self._keys[seed][stage.name] = key
                missing.remove(seed)
            if missing and waiting:
                yield waiting
                time.sleep(POLL_S)

    def _compute(self, stage: Stage, seed: int, claim: Claim, lost: str | None) -> Iterator[Event]:
        """Compute and publish; ``lost`` says what became of an output that was there a moment ago."""
        config, wall_s, cpu_s = self.configs[stage.name], time.monotonic(), time.process_time()
        with claim:
            folder = self.folder / f"{stage.name}-seed-{seed}"
            spread = self._spread(stage, seed, folder)
            if spread:
                self._training = spread
                yield from spread
            learner = self._start(stage, [Lane(config, seed, self._outputs[seed])])
            self._training = training = Training(
                stage.name,
                learner,
                config.steps,
                [seed],
                folder,
                policy=self.request.checkpoints,
                declared=stage.metrics,
            )
            if spread:
                spread.finish(learner)
            else:
                yield from training
            provenance = Provenance(
                identity=self._identity(stage, seed),
                cpu_s=time.process_time() - cpu_s + (spread.cpu_s if spread else 0.0),
                wall_s=time.monotonic() - wall_s,
                steps=config.steps,
                code_version=code_version(),
            )
            artifact = claim.publish(learner.outputs()[0], provenance)
        training.checkpoints.clear()
        self._training = None
        yield StageComputed(
            stage=stage.name,
            key=claim.key,
            seed=seed,
            steps=config.steps,
            cpu_s=provenance.cpu_s,
            wall_s=provenance.wall_s,
            bytes=artifact.bytes,
            reason=claim.reason or lost,
        )

    def _spread(self, stage: Stage, seed: int, folder: Path) -> Spread | None:
        """The workers of a stage, where it is theirs and not the trial's own work."""
        if not self.request.workers.apart(stage.name):
            return None
        from .spread import Spread  # imports Ray
        from .spread_worker import Job

        keys = dict(self._keys[seed])
        return Spread(
            Job(self.request, stage.name, seed, keys, self.store, folder, code=self.system.code),
            self.request.workers,
        )

    def _learn(self, stage: Stage):
        """The trial's own stage, all seeds as lanes of one program, scored on the way and at the end."""
        config, seeds = self.configs[stage.name], self.request.seeds
        learner, folder = self._own_learner(stage)
        every = self.request.evaluate_every_steps or config.steps
        self._training = Training(
            stage.name,
            learner,
            config.steps,
            seeds,
            folder,
            evaluate_at=[*range(every, config.steps, every), *self.request.ends, config.steps],
            episodes=self.request.episodes if stage.episodic else 0,
            ends=self.request.ends,
            policy=self.request.checkpoints,
            best_by=self.request.best_by,
            best_within=self.request.best_within,
            burst_steps=stage.burst_steps(config),
            declared=stage.metrics,
        )
        yield from self._training
        for seed, outputs in zip(seeds, learner.outputs(), strict=True):
            write_snapshot(self.folder / f"policy-seed-{seed}", outputs)
            yield Produced(path=f"policy-seed-{seed}", role="policy")
        yield self._training.save()  # kept, so that the trial can be taken further later
        self._training = None
        return learner

    def _start(self, stage: Stage, lanes: Sequence[Lane]) -> Learner:
        learner = stage.start(lanes, self.source, self.request.device)
        learner.accelerate(self.request.acceleration)
        return learner

    def _own_learner(self, stage: Stage) -> tuple[Learner, Path]:
        """What trains the trial's own stage, and where its checkpoints lie: states of fewer lanes at once differ."""
        lanes, at_once = self._lanes(stage), self.request.lanes
        if at_once is None or at_once >= len(lanes):
            return self._start(stage, lanes), self.folder / stage.name
        learner = LaneGroups(lambda some: self._start(stage, some), lanes, at_once)
        return learner, self.folder / f"{stage.name}-by-{at_once}"

    def _score(self, stage: Stage):
        """Score a shared stage's stored output, nothing being trained."""
        outputs = [self._outputs[seed][stage.name] for seed in self.request.seeds]
        learner: Learner = stage.finished(self._lanes(stage), outputs, self.source, self.request.device)
        steps = self.configs[stage.name].steps
        yield evaluated(
            stage.name, learner, steps, self.request.seeds, self.request.episodes if stage.episodic else 0
        )
        return learner

    def _lanes(self, stage: Stage) -> list[Lane]:
        config, split = self.configs[stage.name], self.request.split
        return [Lane(config, seed, self._outputs[seed], split) for seed in self.request.seeds]

    def _identity(self, stage: Stage, seed: int) -> dict:
        return stage.identity(self.configs[stage.name], self._keys[seed], self.source.fingerprint, seed)

    def _key(self, stage: Stage, seed: int) -> str:
        return identity_key(self._identity(stage, seed))
