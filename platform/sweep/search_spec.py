"""The parts of the sweep file that say what is searched for and how configurations are proposed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from ...trainables.config import FrozenConfig

Scalar = str | int | float | bool

SamplerName = Literal["tpe", "random", "qmc", "gp", "cmaes", "nsgaii", "grid"]
LIMIT = re.compile(r"\s*(\S+)\s*(<=|>=)\s*(\S+)\s*")
"""A constraint as one line of text: `refine/cost <= 25`."""


class Goal(FrozenConfig):
    """A metric and which way it should go."""

    metric: str
    """`stage/metric`, as a stage reports it; several tuning seeds are averaged."""
    direction: Literal["maximize", "minimize"] = "maximize"


class Objective(Goal):
    """What the search makes large or small."""

    several: tuple[Goal, ...] = ()
    """All objectives, this one first, where there are several."""

    @property
    def goals(self) -> tuple[Goal, ...]:
        """Every objective, the leading one first."""
        return self.several or (self,)


def _leading(value: Any) -> Any:
    """A list of objectives as the first of them, which knows them all."""
    if isinstance(value, Mapping):
        several = value.get("several")
        # What a validator has looked at counts as Python, where a list fills no tuple.
        return {**value, "several": tuple(several)} if isinstance(several, list) else value
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return {**value[0], **({"several": tuple(value)} if len(value) > 1 else {})}
    return value


OneOrMore = Annotated[Objective, BeforeValidator(_leading)]


class Constraint(FrozenConfig):
    """A limit that a trial must keep to count as feasible."""

    metric: str
    """`stage/metric` of the objective's stage; several tuning seeds are averaged."""
    max: float | None = None
    """Largest allowed value."""
    min: float | None = None
    """Smallest allowed value."""

    @model_validator(mode="after")
    def _one_limit(self):
        if (self.max is None) == (self.min is None):
            raise ValueError("give either max or min; two limits are two constraints")
        return self

    @property
    def bound(self) -> float:
        """The limit itself."""
        return self.max if self.max is not None else self.min or 0.0

    def breach(self, value: float) -> str:
        """How a value breaks it, as one line (`refine/cost 31.2 > 25`)."""
        if math.isnan(value):
            return f"{self.metric} is not known"
        return f"{self.metric} {value:.4g} {'>' if self.max is not None else '<'} {self.bound:g}"

    @property
    def text(self) -> str:
        """The constraint as one line (`refine/cost <= 25`)."""
        return f"{self.metric} <= {self.max:g}" if self.max is not None else f"{self.metric} >= {self.min:g}"

    def excess(self, value: float) -> float:
        """How far a value lies beyond the limit; 0 or below where it is kept."""
        return value - self.max if self.max is not None else self.bound - value


def _read(value: str | Constraint) -> Constraint:
    """`refine/cost <= 25` as the constraint it stands for."""
    if isinstance(value, Constraint):
        return value
    found = LIMIT.fullmatch(value)
    if not found:
        raise ValueError(
            "must look like `refine/cost <= 25`, or be written as {metric: refine/cost, max: 25}"
        )
    try:
        limit = float(found[3])
    except ValueError:
        raise ValueError(f"the limit {found[3]!r} is not a number") from None
    return Constraint(metric=found[1], **{"max" if found[2] == "<=" else "min": limit})


if TYPE_CHECKING:
    Constraints = tuple[Constraint, ...]
else:
    Constraints = tuple[Annotated[Constraint | str, AfterValidator(_read)], ...]


MOST_SEED = 2**32 - 1
"""The largest seed that every generator below takes."""


class HubSampler(FrozenConfig):
    """A sampler from OptunaHub (https://hub.optuna.org), or from a folder laid out like it."""

    hub: str
    """Package, as the hub names it: `samplers/ctpe`."""
    name: str | None = None
    """Class to take from the package; needed only where it holds several samplers."""
    ref: str = "main"
    """Commit, tag or branch of the registry. A commit keeps the code what it was; its code runs with your rights."""
    folder: str | None = None
    """Folder that holds the package, instead of the registry on the network: FOLDER/samplers/ctpe/__init__.py."""


class Search(FrozenConfig):
    """How configurations are proposed."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    sampler: SamplerName | HubSampler = "tpe"
    """Optuna sampler by name, or `{hub: PACKAGE}` for one from OptunaHub."""
    sampler_options: Mapping[str, Scalar | None] = {}
    """Arguments of the sampler, as Optuna documents them (`n_startup_trials`, `n_ei_candidates`, …)."""
    storage: str = "sqlite"
    """Where Optuna keeps the study: `sqlite` or `journal` (a file in the sweep's folder), or `postgresql://USER@HOST/DB`."""
    trials: int = Field(default=16, gt=0)
    """How many configurations to try."""
    seed: int = Field(default=0, ge=0, le=MOST_SEED)
    """Seed of the sampler, of 32 bits."""
    fixed: tuple[Mapping[str, Scalar], ...] = ()
    """Configurations tried first, before the sampler proposes."""
    from_: tuple[str, ...] = Field(default=(), alias="from")
    """Earlier sweeps whose finished trials the sampler learns from before it proposes."""
    from_anyway: bool = False
    """Learn from them although they differ in data, objective or settings that are not searched."""
