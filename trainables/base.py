"""What a system must provide to be swept: stages, learners, and where to find them.

This module is free of torch, so that the platform can read, check and plan a sweep without loading it.

Legend: P lanes (members of one fused program), all tensors of a learner are [P, ...].
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

from pydantic import Field

from .acceleration import Acceleration
from .config import FrozenConfig
from .errors import PackageMissing, UnknownSystem, UserError, nearest
from .source_ref import SourceKind, Split

if TYPE_CHECKING:
    import torch

    from .user_code.code import Code


BURST_STEPS = 100
"""Updates between two looks at the outside world, where a stage says nothing else."""


class StageConfig(FrozenConfig):
    """What every stage's configuration has."""

    steps: int = Field(gt=0)
    """Gradient updates of this stage."""

    def warnings(self) -> list[str]:
        """Settings that are allowed but cannot do what they seem to ask; shown by the plan and the results."""
        return []

    def unread(self) -> dict[str, str]:
        """Fields whose value changes nothing as the other fields stand, each with the reason; searching one is idle."""
        return {}


C = TypeVar("C", bound=StageConfig)


@dataclass(frozen=True)
class Evidence(Generic[C]):
    """What one trial says of a stage: how it was configured, and what it reported while training.

    Attributes:
        trial: its id.
        config: the stage's configuration in this trial.
        curves: metric (without the stage) to its value at every report, oldest first, mean over seeds.
    """

    trial: str
    config: C
    curves: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class SettingFinding:
    """A setting that could not do what it seems to, or did not, with the evidence.

    Attributes:
        rule: short name of what was noticed (``constraint_slack``).
        setting: the field concerned; with its stage in front (``refine.kl_radius``) once it leaves the stage.
        reason: one or two sentences with the figures it rests on.
        trials: the trials it was noticed in.
    """

    rule: str
    setting: str
    reason: str
    trials: tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """Named tensors plus a small JSON value: how learners and artifacts are stored (safetensors + JSON).

    Attributes:
        log: tensors that a learner only ever appends to, [rows, ...]: a replay. Rows that are there never change, so
            that a checkpoint stores the new ones alone and names the files that hold the others.
    """

    tensors: Mapping[str, torch.Tensor]
    meta: Mapping[str, Any] = field(default_factory=dict)
    log: Mapping[str, torch.Tensor] = field(default_factory=dict)


class Source(Protocol):
    """What a system learns from, opened once per process: an offline dataset, an environment, a problem."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Digest of the content; equal content gives an equal fingerprint on every machine."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """What is worth recording about it, as plain JSON (sizes, ranges, ``findings`` of sanity checks)."""
        ...


class Nothing:
    """The source of systems that bring what they learn from."""

    name = ""
    fingerprint = hashlib.sha256(b"nothing").hexdigest()

    def describe(self) -> Mapping[str, Any]:
        """Nothing to describe."""
        return {"findings": []}


def open_nothing(name: str) -> Source:
    """What systems that learn from nothing open."""
    return Nothing()


@dataclass(frozen=True)
class Lane(Generic[C]):
    """One member of a fused program: its own configuration, seed and upstream outputs.

    Attributes:
        split: ``test`` where the trial is scored for the confirmation. Systems whose problems are disjoint lists draw from
            the list meant. Outputs that others share are always computed under ``tune``.
    """

    config: C
    seed: int
    upstream: Mapping[str, Snapshot] = field(default_factory=dict)
    split: Split = "tune"


@dataclass(frozen=True)
class Score:
    """What one lane's policy (or sampler) achieved: one entry per episode, and derived metrics.

    ``metrics`` are means over the episodes and carry no stage name (``success_rate``, ``return``).
    """

    metrics: Mapping[str, float]
    episodes: Mapping[str, Sequence[float]] = field(default_factory=dict)


class Learner(ABC):
    """P lanes of one stage, advancing together. Lane i equals the same trial run alone."""

    step: int
    """Updates done so far, the same for every lane."""

    @abstractmethod
    def advance(self, steps: int) -> dict[str, list[float]]:
        """Run that many updates.

        Returns:
            Metric name to one value per lane, each a mean over the updates just run.

        Raises:
            Diverged: a loss or parameter became non-finite.
        """

    @abstractmethod
    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        """Score what has been learnt, one seed per lane. Does not disturb the learner's own random streams."""

    @abstractmethod
    def state(self) -> Snapshot:
        """Everything needed to continue bit-equal on CPU: parameters, optimiser, random streams, counters."""

    @abstractmethod
    def load_state(self, snapshot: Snapshot) -> None:
        """Continue from :meth:`state`."""

    @abstractmethod
    def outputs(self) -> list[Snapshot]:
        """What the next stage, an export or an evaluation reads, one per lane."""

    def join(self, rank: int, world: int) -> None:
        """Become worker ``rank`` of ``world`` that compute this stage together, before the first update.

        Data parallel: advance as one of a ``torch.distributed`` process group, each worker on a part of every batch.
        Shards: advance through this worker's part alone. Only learners of stages that name a ``spread`` can.
        """
        raise RuntimeError("this learner works alone")

    def assemble(self, parts: Iterable[Snapshot]) -> None:
        """Become the finished learner whose parts the shards have left, their states in order of rank, read one by one."""
        raise RuntimeError("this learner is not computed in shards")

    def accelerate(self, kind: Acceleration) -> None:  # noqa: B027
        """Compute updates that way from now on; results stay equal up to rounding. By default there is but one way."""

    def illustrate(self, folder: Path, seeds: Sequence[int]) -> list[Path]:
        """Picture what lane 0 has learnt (a video, stills, a plot) and return the files; none by default."""
        return []


@dataclass(frozen=True)
class Cost:
    """An estimate for the plan, per lane, on one ordinary CPU core. Measured figures replace it once known."""

    core_s: float
    disk_bytes: int


class Stage(ABC, Generic[C]):
    """One step of a system, with everything its output depends on made explicit."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raise when the code changes what the stage computes: artifacts of older code are then not reused."""
    open_ended: ClassVar[bool] = False
    """Whether nothing it does depends on ``steps`` but where it ends. A trial can then be taken further from its end,
    and is what it would have been with more steps from the start."""
    config_type: type[C]
    learns_from: SourceKind = "dataset"
    """What its system learns from; told to it by the system."""
    spread: ClassVar[Literal["data_parallel", "shards"] | None] = None
    """How several workers may compute one output (see :meth:`Learner.join`); None where one must do it alone.
    Data parallel equals a single worker up to the order in which gradients are summed, shards to the last bit."""
    episodic: ClassVar[bool] = True
    """Whether a score is made of episodes or problems, which are counted; not where it repeats what was reported."""
    metrics: ClassVar[Mapping[str, str]]
    """Every metric :meth:`Learner.advance` and :meth:`Learner.evaluate` report, with what it means."""

    def identity(
        self, config: C, upstream_keys: Mapping[str, str], source_fingerprint: str, seed: int
    ) -> dict[str, Any]:
        """Everything the output depends on and nothing else; device and worker count stay out."""
        return {
            "stage": self.name,
            "version": self.version,
            "config": config.model_dump(mode="json"),
            "upstream": dict(sorted(upstream_keys.items())),
            self.learns_from: source_fingerprint,
            "seed": seed,
        }

    @abstractmethod
    def start(self, lanes: Sequence[Lane[C]], source: Source, device: str) -> Learner:
        """A learner at step 0."""

    @abstractmethod
    def finished(
        self, lanes: Sequence[Lane[C]], outputs: Sequence[Snapshot], source: Source, device: str
    ) -> Learner:
        """A learner rebuilt from stored outputs, to evaluate or export; it cannot advance."""

    def check(self, source: Source, metrics: Collection[str]) -> list[str]:
        """Try whether this stage can report some metrics when it has learnt from that source; nothing by default.

        Called by the plan and, before anything is trained, where a trial runs.

        Args:
            metrics: what objectives and limits look at, without the stage.

        Returns:
            What is allowed but worth knowing.

        Raises:
            UserError: one of them would never be reported, or what is learnt from does not fit where it is scored.
        """
        return []

    def findings(self, trials: Sequence[Evidence[C]], searched: Collection[str]) -> list[SettingFinding]:
        """What the metrics of a sweep's trials say about which settings were at work; nothing by default.

        Args:
            trials: those that trained this stage, in the order they were proposed.
            searched: fields of this stage that the sweep searches.
        """
        return []

    def burst_steps(self, config: C) -> int:
        """Updates between two looks at whether the trial is to stop or to store its state; the same on every machine."""
        return BURST_STEPS

    @abstractmethod
    def cost(self, configs: Mapping[str, StageConfig], source: Source) -> Cost:
        """What one lane of this stage takes, given the configurations of all stages and what is learnt from."""


@dataclass(frozen=True)
class System:
    """A tunable whole: stages in order, what it learns from, and named complete configurations.

    Attributes:
        open_source: opens a source by the name a sweep gives, raising UserError when it cannot be had or does not fit
            the system.
        presets: name to a function returning a full config for every stage.
        learns_from: what that source is, and the key of the sweep file that names it.
        code: the file of the user's own that it was read from, where it is no registered one.
    """

    name: str
    title: str
    reference: str
    stages: tuple[Stage[Any], ...]
    open_source: Callable[[str], Source]
    presets: Mapping[str, Callable[[], Mapping[str, StageConfig]]]
    learns_from: SourceKind = "dataset"
    code: Code | None = None

    def __post_init__(self) -> None:
        for stage in self.stages:
            told = vars(stage).get("learns_from", self.learns_from)
            if told != self.learns_from:
                raise ValueError(f"stage {stage.name} is shared with a system that learns from {told}s")
            stage.learns_from = self.learns_from

    def stage(self, name: str) -> Stage[Any]:
        """The stage of that name.

        Raises:
            UserError: there is none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise UserError("unknown stage", key=name, fix=nearest(name, [stage.name for stage in self.stages]))

    def metrics(self) -> dict[str, str]:
        """Every metric a trial can report, as ``stage/metric``, with its meaning."""
        return {f"{s.name}/{name}": text for s in self.stages for name, text in s.metrics.items()}


def identity_key(identity: Mapping[str, Any]) -> str:
    """The content address of a stage's output: SHA-256 of its canonical JSON."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_system(name: str) -> System:
    """The system of that name: a registered one (entry point group ``flowsweep.systems``), or a file of the user's own.

    Raises:
        UnknownSystem: no installed package registers it.
        PackageMissing: its code needs a package that is not installed here.
        UserError: its code cannot be loaded, with file and line; or it is a file that nobody has named in this process.
    """
    from .user_code.code import names_code
    from .user_code.known import load_named

    return load_named(name) if names_code(name) else _registered(name)


@cache
def _registered(name: str) -> System:
    found = {point.name: point for point in entry_points(group="flowsweep.systems")}
    if name not in found:
        raise UnknownSystem("unknown system", key="system", value=name, fix=nearest(name, found))
    from .system_check import check_system
    from .user_code.importing import explained

    try:
        system = found[name].load()
    except ModuleNotFoundError as error:
        raise PackageMissing(
            f"its code needs {error.name}, which is not installed here", key="system", value=name,
            fix=f"Install it, or submit to a cluster whose nodes have it: {found[name].value} is loaded there.",
        ) from error  # fmt: skip
    except Exception as error:
        raise explained(error, name) from error
    return check_system(system, name)
