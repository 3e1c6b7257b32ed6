"""What every learner promises, as checks that run on any system: for plug-in writers, and for our own systems.

Each check starts learners of its own. A check that fails says what was promised and how the learner fell short of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from .artifacts import read_snapshot, write_snapshot
from .base import Lane, Learner, Snapshot, Source, Stage, StageConfig, System, identity_key
from .config import is_lane_field, parse
from .lossless_json import dumps, loads
from .places import place_of, place_of_class

RTOL, ATOL = 1e-4, 1e-5
"""How near a lane must come to the same run alone: fused sums are rounded otherwise."""
SEEDS = (0, 1)


class Broken(AssertionError):
    """A promise that is not kept."""


@dataclass(frozen=True)
class Bench:
    """A stage ready to be started again and again.

    Attributes:
        configs: of every stage, with few steps.
        source: what is learnt from.
        earlier: benches of the stages before it.
        episodes: of each evaluation; 0 where none is to be made.
    """

    system: System
    stage: Stage[Any]
    configs: Mapping[str, StageConfig]
    source: Source
    earlier: tuple[Bench, ...] = ()
    episodes: int = 2
    device: str = "cpu"

    @property
    def config(self) -> StageConfig:
        """Of this stage."""
        return self.configs[self.stage.name]

    @cached_property
    def finished(self) -> list[Snapshot]:
        """Outputs of runs of all steps, one per seed."""
        learner = self.start()
        learner.advance(self.config.steps)
        return [_at_rest(output) for output in learner.outputs()]

    def lanes(self, seeds: Sequence[int] = SEEDS, config: StageConfig | None = None) -> list[Lane[Any]]:
        """A lane per seed."""
        return [
            Lane(config or self.config, s, {e.stage.name: e.finished[SEEDS.index(s)] for e in self.earlier})
            for s in seeds
        ]

    def start(self, seeds: Sequence[int] = SEEDS, config: StageConfig | None = None) -> Learner:
        """A learner at step 0."""
        return self.stage.start(self.lanes(seeds, config), self.source, self.device)


def benches(
    system: System,
    source: Source,
    settings: Mapping[str, Mapping[str, Any]],
    steps: int,
    episodes: int,
    device: str = "cpu",
) -> list[Bench]:
    """A bench for every stage of a system.

    Args:
        settings: by stage, what differs from the preset `default`.
        steps: of every stage that `settings` gives no number of.
    """
    preset = system.presets["default"]()
    configs = {
        name: parse(
            type(config), {**config.model_dump(mode="json"), "steps": steps, **settings.get(name, {})}, name
        )
        for name, config in preset.items()
    }
    found: list[Bench] = []
    for stage in system.stages:
        found.append(Bench(system, stage, configs, source, tuple(found), episodes, device))
    return found


def starts_at_step_0(bench: Bench) -> None:
    """A learner starts at step 0 and counts its updates."""
    learner = bench.start()
    _hold(learner.step == 0, f"`step` is {learner.step} at the start")
    learner.advance(2)
    _hold(learner.step == 2, f"`step` is {learner.step} after two updates")
    count = len(learner.outputs())
    _hold(count == len(SEEDS), f"`outputs()` gives {count} for {len(SEEDS)} lanes")


def declares_its_metrics(bench: Bench) -> None:
    """Every metric reported is declared in `Stage.metrics`, with one value per lane."""
    learner = bench.start()
    metrics = learner.advance(2)
    for name, values in metrics.items():
        _hold(name in bench.stage.metrics, f"`advance` reports `{name}`, which `metrics` does not declare")
        _hold(len(values) == len(SEEDS), f"`{name}` has {len(values)} values for {len(SEEDS)} lanes")
        _hold(all(isinstance(v, float) for v in values), f"`{name}` holds {values!r}, not floats")
    for score in _scores(bench, learner):
        for name in score.metrics:
            _hold(
                name in bench.stage.metrics, f"`evaluate` reports `{name}`, which `metrics` does not declare"
            )


def resumes_bit_equal(bench: Bench) -> None:
    """A learner that loads a stored state goes on as if it had never stopped, optimiser and random streams included."""
    before = max(1, min(2, bench.config.steps - 1))
    undisturbed, stopped, resumed = (bench.start() for _ in range(3))
    undisturbed.advance(before)
    stopped.advance(before)
    resumed.load_state(_through_disk(stopped.state()))
    after = max(1, bench.config.steps - before)
    first, second = undisturbed.advance(after), resumed.advance(after)
    hint = "; of an optimiser, a random stream, a target or a counter something is not in `state()`"
    _hold(_same_values(first, second), f"metrics after a resume differ: {first} undisturbed, {second}{hint}")
    if text := _difference(undisturbed.state(), resumed.state()):
        raise Broken(f"the state after a resume differs in {text}{hint}")
    for one, other in zip(undisturbed.outputs(), resumed.outputs(), strict=True):
        if text := _difference(one, other):
            raise Broken(f"outputs after a resume differ in {text}{hint}")


def stores_copies(bench: Bench) -> None:
    """A stored state stays what it was while training goes on."""
    learner = bench.start()
    learner.advance(1)
    stored = learner.state()
    kept = _at_rest(stored)
    learner.advance(max(1, bench.config.steps - 1))
    if text := _difference(kept, stored):
        raise Broken(f"`state()` gave {text} by reference; it moved with the learner")


def does_not_depend_on_how_it_is_cut(bench: Bench) -> None:
    """Updates done in one call or in several come to the same."""
    whole, pieces = bench.start(), bench.start()
    total = min(4, bench.config.steps)
    whole.advance(total)
    for steps in (1, total - 2, 1) if total > 2 else (1,) * total:
        pieces.advance(steps)
    if text := _difference(whole.state(), pieces.state()):
        raise Broken(f"{total} updates in one call and in pieces differ in {text}")


def lanes_equal_runs_alone(bench: Bench) -> None:
    """A lane of a fused program equals the same run alone."""
    total = min(4, bench.config.steps)
    together = bench.start()
    metrics = together.advance(total)
    for lane, seed in enumerate(SEEDS):
        alone = bench.start([seed])
        for name, values in alone.advance(total).items():
            said = metrics.get(name, [])
            near = len(said) > lane and torch.isclose(
                torch.tensor(said[lane]), torch.tensor(values[0]), rtol=RTOL, atol=ATOL, equal_nan=True
            )
            _hold(bool(near), f"`{name}` of lane {lane} is {said[lane : lane + 1]}, alone {values[0]}")
        output, own = together.outputs()[lane], alone.outputs()[0]
        for name, value in own.tensors.items():
            near = name in output.tensors and _near(output.tensors[name], value)
            _hold(near, f"output `{name}` of lane {lane} is not what it is alone")


def seeds_make_a_difference(bench: Bench) -> None:
    """Runs with other seeds are other runs, as far as a run has anything random in it; a seed twice is one run twice."""
    same = [bench.start([SEEDS[0]]) for _ in range(2)]
    metrics = [learner.advance(min(4, bench.config.steps)) for learner in same]
    _hold(_same_values(*metrics), f"one seed twice gives {metrics[0]} and {metrics[1]}")


def evaluates_without_a_trace(bench: Bench) -> None:
    """Scoring does not disturb training, and the same seeds give the same scores."""
    learner = bench.start()
    learner.advance(1)
    before = _at_rest(learner.state())
    first, second = _scores(bench, learner), _scores(bench, learner)
    if text := _difference(before, learner.state()):
        raise Broken(f"`evaluate` changes the learner's state in {text}")
    _hold(
        all(_same_values(dict(a.metrics), dict(b.metrics)) for a, b in zip(first, second, strict=True)),
        f"two evaluations on the same seeds differ: {first} and {second}",
    )


def is_rebuilt_from_its_outputs(bench: Bench) -> None:
    """What is stored of a finished stage is enough to score it."""
    learner = bench.start()
    learner.advance(bench.config.steps)
    outputs = [_through_disk(output) for output in learner.outputs()]
    rebuilt = bench.stage.finished(bench.lanes(), outputs, bench.source, bench.device)
    for one, other in zip(_scores(bench, learner), _scores(bench, rebuilt), strict=True):
        said = (dict(one.metrics), dict(other.metrics))
        _hold(_same_values(*said), f"scored {said[0]} after training, {said[1]} from its outputs")


def has_a_complete_identity(bench: Bench) -> None:
    """Whatever an output depends on is in its identity: settings, seed, what is learnt from, earlier outputs."""
    upstream = {earlier.stage.name: "0" for earlier in bench.earlier}

    def key(
        config: StageConfig = bench.config, fingerprint: str = "a", seed: int = 0,
        other: Mapping[str, str] = {},
    ) -> str:  # fmt: skip
        return identity_key(bench.stage.identity(config, {**upstream, **other}, fingerprint, seed))

    _hold(key() == key(), "asked twice, it gives two identities")
    if key(seed=1) == key() and _difference(*bench.finished) is not None:
        raise Broken("the seed is not in it, and two seeds give two outputs")
    _hold(key(fingerprint="b") != key(), "what is learnt from is not in it")
    for name in upstream:
        _hold(key(other={name: "1"}) != key(), f"the output of `{name}` is not in it")
    for field, other in _varied(bench):
        if key(other) == key() and _computes_otherwise(bench, other):
            raise Broken(f"`{field}` changes the output and is not in it")


def fuses_lanes_of_other_settings(bench: Bench) -> None:
    """Fields marked as lane fields may differ between the lanes of one program."""
    for field, other in _varied(bench):
        if not is_lane_field(type(bench.config), field):
            continue
        one, two = Lane(bench.config, 0, bench.lanes([0])[0].upstream), bench.lanes([1], other)[0]
        learner = bench.stage.start([one, two], bench.source, bench.device)
        alone = bench.stage.start([two], bench.source, bench.device)
        total = min(3, bench.config.steps)
        for one_of_two in (learner, alone):
            one_of_two.advance(total)
        for name, value in alone.outputs()[0].tensors.items():
            near = _near(learner.outputs()[1].tensors[name], value)
            _hold(near, f"with another `{field}` in lane 1, its output `{name}` is not what it is alone")


CONTRACT: tuple[Callable[[Bench], None], ...] = (
    starts_at_step_0,
    declares_its_metrics,
    resumes_bit_equal,
    stores_copies,
    does_not_depend_on_how_it_is_cut,
    lanes_equal_runs_alone,
    fuses_lanes_of_other_settings,
    seeds_make_a_difference,
    evaluates_without_a_trace,
    is_rebuilt_from_its_outputs,
    has_a_complete_identity,
)
"""All that is promised, cheapest first."""
SCORED = {evaluates_without_a_trace, is_rebuilt_from_its_outputs}
"""Those that are about evaluations alone."""


@dataclass(frozen=True)
class Check:
    """One promise of one stage; calling it holds it."""

    bench: Bench
    promise: Callable[[Bench], None]

    @property
    def name(self) -> str:
        """Stage and promise."""
        return f"{self.bench.stage.name}: {self.promise.__name__.replace('_', ' ')}"

    @property
    def says(self) -> str:
        """The promise in a sentence."""
        return (self.promise.__doc__ or "").strip()

    def __str__(self) -> str:
        return self.name

    def __call__(self) -> None:
        """Hold it.

        Raises:
            AssertionError: it is not kept, or an exception was raised instead; with file and line.
        """
        try:
            self.promise(self.bench)
        except Broken as broken:
            place = place_of_class(type(self.bench.stage))
            raise AssertionError(f"{place}{self.name}: {broken}. {self.says}") from None
        except Exception as error:
            said = f"{place_of(error) or 'in flowsweep'}: {type(error).__name__}: {error}"
            raise AssertionError(f"{self.name}: {said}") from error


def _scores(bench: Bench, learner: Learner) -> list[Any]:
    if not bench.episodes:
        return []
    scores = learner.evaluate(SEEDS, bench.episodes)
    _hold(len(scores) == len(SEEDS), f"`evaluate` gives {len(scores)} scores for {len(SEEDS)} lanes")
    return scores


def _varied(bench: Bench) -> list[tuple[str, StageConfig]]:
    """Every field with another value that its rules allow, where one is found."""
    found = []
    for name, value in bench.config.model_dump(mode="json").items():
        if name == "steps":
            continue
        options: list[Any] = []
        if isinstance(value, bool):
            options = [not value]
        elif isinstance(value, int):
            options = [value + 1, value * 2, value - 1]
        elif isinstance(value, float):
            options = [value * 0.5, value + 0.25, value * 2]
        for option in options:
            if option == value:
                continue
            try:
                given = {**bench.config.model_dump(mode="json"), name: option}
                found.append((name, parse(type(bench.config), given)))
                break
            except Exception:
                continue
    return found


def _computes_otherwise(bench: Bench, other: StageConfig) -> bool:
    outputs = []
    for config in (bench.config, other):
        learner = bench.start([SEEDS[0]], config)
        learner.advance(bench.config.steps)
        outputs.append(learner.outputs()[0])
    return _difference(*outputs) is not None


def _through_disk(snapshot: Snapshot) -> Snapshot:
    """The same, written and read as checkpoints are: anything that is not tensors and JSON is lost there."""
    with tempfile.TemporaryDirectory(prefix="flowsweep-contract-") as folder:
        write_snapshot(Path(folder) / "snapshot", snapshot)
        # What is only appended to is stored by the checkpoints, apart from the snapshot.
        return replace(read_snapshot(Path(folder) / "snapshot"), log=snapshot.log)


def _at_rest(snapshot: Snapshot) -> Snapshot:
    tensors = {name: value.clone() for name, value in snapshot.tensors.items()}
    log = {name: value.clone() for name, value in snapshot.log.items()}
    return replace(snapshot, tensors=tensors, meta=loads(dumps(snapshot.meta)), log=log)


def _difference(one: Snapshot, other: Snapshot) -> str | None:
    """The first tensor or value in which two snapshots differ."""
    if names := sorted(set(one.tensors) ^ set(other.tensors)):
        return f"`{names[0]}`, which one of them lacks"
    for mine, others in ((one.tensors, other.tensors), (one.log, other.log)):
        for name, value in mine.items():
            if name not in others or not torch.equal(torch.nan_to_num(value), torch.nan_to_num(others[name])):
                return f"`{name}`"
    for name in sorted({*one.meta, *other.meta}):
        if loads(dumps(one.meta.get(name))) != loads(dumps(other.meta.get(name))):
            said = (repr(snapshot.meta.get(name))[:40] for snapshot in (one, other))
            return f"`{name}` ({' and '.join(said)})"
    return None


def _near(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    return torch.allclose(one, other, rtol=10 * RTOL, atol=ATOL, equal_nan=True)


def _same_values(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return repr(sorted(one.items())) == repr(sorted(other.items()))


def _hold(kept: bool, otherwise: str) -> None:
    if not kept:
        raise Broken(otherwise)
