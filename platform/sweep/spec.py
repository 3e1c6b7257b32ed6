"""The sweep: the one file a user writes, as frozen typed models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt, field_validator, model_validator

from ...search_spaces.parameters import Parameter
from ...trainables.acceleration import Acceleration
from ...trainables.base import load_system
from ...trainables.checkpoints import CheckpointPolicy
from ...trainables.config import FrozenConfig, parse
from ...trainables.errors import UserError, UserErrors
from ...trainables.source_ref import KINDS, SourceRef
from ...trainables.user_code.code import names_code, read_code
from ...trainables.user_code.known import declare
from ..paths import checked_name
from ..tracking.check import checked_uri
from .search_spec import MOST_SEED, Constraints, OneOrMore, Search
from .share_spec import LEAST_SHARE, Custom, Gpus, StageResources
from .stop_spec import Budget, Stop
from .storage_spec import Storage
from .yaml_file import overridden, placed, read_yaml


class Seeds(FrozenConfig):
    """Which seeds score the search and which only confirm its best."""

    tune: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Every trial is trained and scored once per tuning seed; the objective is the mean."""
    test: tuple[int, ...] = (1000, 1001, 1002)
    """Never seen by the search; the best trials are trained and scored anew on these."""

    @model_validator(mode="after")
    def _disjoint(self):
        shared = sorted(set(self.tune) & set(self.test))
        if shared:
            raise ValueError(f"tune and test share {shared}; give the test seeds other numbers")
        if outside := [seed for seed in (*self.tune, *self.test) if not 0 <= seed <= MOST_SEED]:
            raise ValueError(f"seeds must lie in 0 to {MOST_SEED} (32 bits), and {outside[0]} does not")
        if len(set(self.tune)) < len(self.tune) or len(set(self.test)) < len(self.test):
            raise ValueError("a seed is listed twice; list each once")
        return self


class Evaluation(FrozenConfig):
    """How often and how thoroughly a trial is scored."""

    episodes: int = Field(default=20, gt=0)
    """Episodes (or problems) per seed at each evaluation."""
    every_steps: int | None = Field(default=None, gt=0)
    """Steps between evaluations of the last stage; it is always scored at its end."""


class Confirm(FrozenConfig):
    """The final check of the best trials on the test seeds."""

    top: int = Field(default=1, ge=0)
    """How many of the best trials to confirm; 0 for none."""
    episodes: int = Field(default=50, gt=0)
    """Episodes per test seed."""
    baselines: tuple[str, ...] = ()
    """Stages whose own output is scored beside them (`pretrain`: no refinement)."""


class Resources(FrozenConfig):
    """What one trial occupies, and how many run at once."""

    cpus: float = Field(default=1, ge=LEAST_SHARE)
    """CPU cores reserved per trial, at least 0.01."""
    gpus: Gpus = 0
    """GPUs per trial; fractions of at least 0.01 share one, and above one they are whole."""
    custom: Custom = Field(default_factory=dict)
    """What else a trial takes, by the names nodes have it under (`ray start --resources`): `{a100: 1}`."""
    labels: Mapping[str, str] = {}
    """Labels a node must have to run trials (`ray start --labels`): a value, `!value`, `in(a,b)` or `!in(a,b)`."""
    stages: Mapping[str, StageResources] = {}
    """What a shared stage takes where that differs from a trial: `{pretrain: {gpus: 1}}`. It is then computed by a worker
    beside the trial (by `workers` of them), with room kept free. No result is filed under it."""
    threads: int = Field(default=1, gt=0, le=1024)
    """Torch threads per trial; no more than the cores of the machine it runs on."""
    acceleration: Acceleration = "eager"
    """How updates are computed. `compile`: by torch.compile, which needs a C++ compiler wherever trials run, costs some
    seconds per program and machine, and gives results equal up to rounding. No result is filed under it."""
    concurrent: int | None = Field(default=None, gt=0)
    """Trials at once; as many as fit when not given."""
    priority: int = 0
    """Of several sweeps on a cluster those with the larger number are served first; `flowsweep share` changes it."""
    wait_for_nodes_s: float = Field(default=0, ge=0)
    """How long a cluster may take to have nodes that fit, before the sweep is refused. Above 0, more is asked for than
    there is while trials wait, so that a cluster that grows does."""
    workers: Mapping[str, PositiveInt] = {}
    """Workers that compute one output of a stage together, by stage (`{pretrain: 4}`); one where not named. They
    come on top of the trials, and what they need is kept free. No result is filed under their number."""
    retries: int = Field(default=5, ge=0)
    """Times in a row that a trial is taken up again after its worker was lost before it had come any further.

    A worker told to leave and a lost node do not count. Out of memory is retried once, unless this is 0. Other failures
    are not retried."""


MOST_EXPERIMENT = 256
"""MLflow keeps an experiment's name in a column of that many characters."""


class Tracking(FrozenConfig):
    """Where MLflow records go."""

    uri: str | None = None
    """`sqlite:///FILE`, `http(s)://HOST`; an embedded store in the flowsweep home when not given."""
    experiment: str | None = None
    """MLflow experiment, at most 256 characters; `flowsweep/SYSTEM` when not given."""

    @field_validator("uri")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        try:
            return value if value is None else checked_uri(value)
        except UserError as error:
            raise ValueError(f"{error.problem}. {error.fix}") from None

    @field_validator("experiment")
    @classmethod
    def _storable(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("must not be empty")
        if value is not None and len(value) > MOST_EXPERIMENT:
            raise ValueError(f"is longer than the {MOST_EXPERIMENT} characters that MLflow keeps")
        return value


class SweepSpec(FrozenConfig):
    """One sweep, complete."""

    name: str
    """Name of the sweep and of its folder."""
    system: str
    """What to tune: a registered system, or a file of your own and what it holds: `./train.py:train`."""
    dataset: str | None = None
    """What it learns from, where its system learns from a dataset: a Minari dataset id."""
    environment: str | None = None
    """What it learns from, where its system learns from an environment."""
    problem: str | None = None
    """What it learns from, where its system learns from a problem."""
    config: Mapping[str, Any] = {}
    """Settings of a system of one stage that differ from the preset; `stages` without the stage."""
    preset: str = "default"
    """Named complete configuration of the system that `stages` amends."""
    stages: Mapping[str, Mapping[str, Any]] = {}
    """Settings that differ from the preset, by stage."""
    space: str | Mapping[str, Parameter] = "default"
    """A named search space of the system, or `stage.field` with a range each."""
    objective: OneOrMore
    """What is made large or small; of a list of several the Pareto front is searched, and the first one leads."""
    constraints: Constraints = ()
    """Limits on other metrics of the objective's stage: `refine/cost <= 25`."""
    search: Search = Search()
    stop: Stop = Stop()
    budget: Budget = Budget()
    seeds: Seeds = Seeds()
    evaluation: Evaluation = Evaluation()
    confirm: Confirm = Confirm()
    resources: Resources = Resources()
    tracking: Tracking = Tracking()
    storage: Storage = Storage()
    checkpoints: CheckpointPolicy = CheckpointPolicy()

    @property
    def source(self) -> SourceRef:
        """What it learns from; known to be the one its system takes once the sweep is resolved."""
        return SourceRef.among({kind: getattr(self, kind) for kind in KINDS})

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        try:
            return checked_name(value)
        except UserError as error:
            raise ValueError(error.problem) from None


def load_spec(path: str | Path, overrides: Mapping[str, str] | None = None) -> SweepSpec:
    """Read a sweep file, or a sweep that ships with flowsweep when only its name is given.

    Args:
        path: a YAML file, or the name of a shipped sweep (``quickstart``).
        overrides: dotted key to a value in YAML notation (``search.trials`` to ``"4"``), or to a
            :class:`~.yaml_file.Text`; applied last.

    A file of the user's own that it names as its system is read too, and from then on is what this process means by it.

    Raises:
        UserError: the file cannot be read, or says something that cannot work; every mistake is named.
    """
    file = sweep_file(path)
    try:
        spec = read_spec(file, overrides)
    except UserErrors as error:
        _name_stages(error, overridden(read_yaml(file), overrides or {}))
        raise UserErrors(error.errors) from error.__cause__
    return with_code(spec, file.parent)


def _name_stages(errors: UserErrors, values: Mapping[str, Any]) -> None:
    """Where an unknown key is a stage of the system, say where stages are written."""
    unknown = [one for one in errors.errors if one.problem == "unknown key" and one.key in values]
    system = values.get("system")
    if not unknown or not isinstance(system, str) or names_code(system):
        return
    try:
        stages = {stage.name for stage in load_system(system).stages}
    except UserError:
        return
    for one in unknown:
        if one.key in stages:
            below = values[one.key]
            field = f".{next(iter(below))}" if isinstance(below, Mapping) and below else ""
            said = str(one).removesuffix(one.fix or "")
            one.fix = f"Did you mean `stages.{one.key}{field}`?"
            one.args = (said + one.fix,)


def read_spec(path: Path, overrides: Mapping[str, str] | None = None) -> SweepSpec:
    """A sweep file as it stands, on record or a user's own; no code is read. See :func:`load_spec`."""
    with placed(path, overrides):
        return parse(SweepSpec, {"name": path.stem, **overridden(read_yaml(path), overrides or {})})


def with_code(spec: SweepSpec, beside: Path) -> SweepSpec:
    """The same sweep, once the code it names is known to this process.

    Args:
        beside: where a relative path starts.
    """
    if names_code(spec.system):
        code = read_code(spec.system, beside)
        declare(spec.system, code)
    return spec


def shipped_sweeps() -> dict[str, Path]:
    """The complete example sweeps that come with flowsweep, by name."""
    folder = Path(__file__).parents[2] / "search_spaces" / "sweeps"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def sweep_file(path: str | Path) -> Path:
    """The file meant by a path or by the name of a shipped sweep."""
    file = Path(path)
    if file.is_file():
        return file
    shipped = shipped_sweeps()
    if str(path) in shipped:
        return shipped[str(path)]
    raise UserError(
        "no such sweep file",
        key="SWEEP",
        value=str(path),
        fix=f"Give a YAML file, or a shipped sweep: {', '.join(shipped)}.",
    )
