"""CMA-ES whose state is told again from the trials, where Optuna's own would unpickle it from the study's storage.

A storage may have been written by others, and to unpickle is to run what they wrote. So nothing is stored but each trial's
generation: the distribution follows from the points and values of the generations before (Hansen, arXiv:1604.00772), and
is kept in memory while the driver runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution
from optuna.samplers import CmaEsSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial


class Evolution(CmaEsSampler):
    """Optuna's CMA-ES, with another way to its state (of ``_restore_optimizer`` nothing is kept)."""

    _known: Any = None
    _told: tuple[_SearchSpaceTransform, StudyDirection] | None = None

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if search_space:
            transform = _SearchSpaceTransform(
                search_space, transform_step=not self._with_margin, transform_0_1=True
            )
            if self._told and len(self._told[0].bounds) != len(transform.bounds):
                self._known = None
            self._told = transform, study.direction
        return super().sample_relative(study, trial, search_space)

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        """The distribution after every generation that is whole; so that the caller has none to tell, and none to store."""
        assert self._told is not None
        transform, direction = self._told
        optimizer = self._known or self._init_optimizer(transform, direction)
        while True:
            members = self._get_solution_trials(completed_trials, optimizer.generation)
            members = members[: optimizer.population_size]
            if len(members) < optimizer.population_size:
                break
            optimizer.tell([(self._point(optimizer, one), self._loss(one, direction)) for one in members])
        self._known = (
            optimizer if optimizer.generation else None
        )  # Optuna's begins anew too until the first one is whole
        return optimizer

    def _point(self, optimizer: Any, trial: FrozenTrial) -> np.ndarray:
        assert self._told is not None
        from cmaes import CMAwM  # loads scipy's statistics, a second that other samplers do without

        if isinstance(optimizer, CMAwM):
            return np.array(trial.system_attrs["x_for_tell"])
        return self._told[0].transform(trial.params)

    @staticmethod
    def _loss(trial: FrozenTrial, direction: StudyDirection) -> float:
        assert trial.value is not None
        return trial.value if direction == StudyDirection.MINIMIZE else -trial.value
