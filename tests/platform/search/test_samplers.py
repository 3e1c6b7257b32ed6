"""One contract, held by every sampler: what a sweep relies on whoever proposes."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest
from flowsweep.platform.search.bridge import StudySearch
from flowsweep.platform.search.draws import draw_errors
from flowsweep.platform.search.samplers import SAMPLERS, sampler_errors
from flowsweep.platform.sweep.search_spec import HubSampler, Search
from flowsweep.search_spaces.parameters import Choice, Integer, Real, Space
from optuna.trial import FrozenTrial, TrialState

SPACE = {
    "s.rate": Real(low=1e-3, high=1.0, log=True),
    "s.scale": Real(low=0.0, high=2.0),
    "s.depth": Integer(low=1, high=8),
    "s.kind": Choice(values=("a", "b")),
}
FINITE = {"s.depth": Integer(low=1, high=8), "s.kind": Choice(values=("a", "b", "c"))}
ENDS = ("finished", "pruned", "diverged", "failed", "infeasible")

every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


def space_of(sampler: str) -> Space:
    return FINITE if sampler == "grid" else SPACE


@pytest.fixture
def study():
    """Open the one study of this test, or another by name, as a new driver would."""
    kept: dict[str, optuna.storages.InMemoryStorage] = {}
    opened: list[StudySearch] = []

    def open_(
        sampler, name: str = "s", space: Space | None = None, direction="maximize", context="c", **search
    ):
        for other in opened:
            other.close()
        storage = kept.setdefault(name, optuna.storages.InMemoryStorage())
        if sampler == "gp":
            search = {"sampler_options": {"n_startup_trials": 4}, **search}
        options, nop = Search(sampler=sampler, trials=30, **search), optuna.pruners.NopPruner()
        made = StudySearch(
            name, storage, options, space or space_of(sampler), direction, nop, context=context
        )
        opened.append(made)
        return made

    yield open_
    for search in opened:
        search.close()


def stored(search: StudySearch) -> list[FrozenTrial]:
    """What somebody else finds in the storage."""
    assert search.settle() == 0
    return optuna.load_study(study_name=search.study.study_name, storage=search._mirror._kept).trials


def enough(sampler: str) -> int:
    """Trials after which a sampler proposes by what it knows; few where each takes a second."""
    return 6 if sampler == "gp" else 13


def good(params) -> float:
    """Higher towards depth 3 and scale 0.7, as far as they are searched."""
    return -abs(params.get("s.depth", 3) - 3) / 8 - abs(params.get("s.scale", 0.7) - 0.7)


def finish(search: StudySearch, count: int, value: Callable = good) -> list[dict]:
    tried = []
    for _ in range(count):
        proposal = search.propose()
        search.report(proposal.trial, 1, value(proposal.params))
        search.tell(proposal.trial, "finished", value(proposal.params), "")
        tried.append(dict(proposal.params))
    return tried


def inside(params, space: Space) -> bool:
    def fits(value, parameter) -> bool:
        if isinstance(parameter, Choice):
            return value in parameter.values
        whole = isinstance(value, int) or not isinstance(parameter, Integer)
        return whole and parameter.low <= value <= parameter.high

    return set(params) == set(space) and all(fits(params[key], space[key]) for key in space)


@every_sampler
def test_every_proposal_lies_inside_the_space(sampler, study):
    assert all(inside(params, space_of(sampler)) for params in finish(study(sampler), enough(sampler)))


@every_sampler
def test_two_drivers_with_the_same_seed_propose_the_same(sampler, study):
    first = finish(study(sampler, "one", seed=3), enough(sampler))
    assert finish(study(sampler, "two", seed=3), enough(sampler)) == first
    assert finish(study(sampler, "three", seed=4), 3) != first[:3]


@every_sampler
def test_what_is_being_tried_is_not_proposed_again(sampler, study):
    search = study(sampler)
    finish(search, 5)
    running = [search.propose().params for _ in range(4 if sampler == "gp" else 8)]
    assert all(running.count(params) == 1 for params in running)


@every_sampler
def test_a_search_taken_up_again_goes_on_where_it_was(sampler, study):
    before = finish(study(sampler), 6)
    after = finish(study(sampler), 6)
    assert not [params for params in after if params in before]


@every_sampler
def test_every_ending_reaches_the_storage_as_what_it_was(sampler, study):
    search = study(sampler)
    for index in range(10):
        proposal = search.propose()
        search.report(proposal.trial, 10, index + 0.25)
        search.report(proposal.trial, 20, index + 0.5)
        end = ENDS[index % 5]
        excess = {"s/cost <= 3": 0.5 if end == "infeasible" else -0.5}
        search.tell(proposal.trial, end.replace("infeasible", "finished"), index + 0.5, f"it {end}", excess)
    complete, pruned, fail = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
    trials = [trial for trial in stored(search) if "trial" in trial.user_attrs]
    assert [trial.state for trial in trials] == [complete, pruned, fail, fail, complete] * 2
    assert [trial.user_attrs["reason"] for trial in trials[:5]] == [f"it {end}" for end in ENDS]
    assert trials[1].intermediate_values == {10: 1.25, 20: 1.5}
    assert trials[2].user_attrs["status"] == "diverged"
    assert [trial.constraints["s/cost <= 3"] > 0 for trial in trials[:5]] == [False] * 4 + [True]


@every_sampler
def test_fixed_points_come_first_and_are_not_proposed_twice(sampler, study):
    whole = {"s.rate": 0.5, "s.scale": 1.5, "s.depth": 2, "s.kind": "b"}
    fixed = {key: whole[key] for key in space_of(sampler)}
    tried = finish(study(sampler, fixed=(fixed,)), 3)
    assert tried[0] == fixed
    assert fixed not in [*tried[1:], *finish(study(sampler, fixed=(fixed,)), 3)]


SEVERAL = sorted(set(SAMPLERS) - {"cmaes"})


@pytest.mark.parametrize("sampler", SEVERAL)
def test_several_objectives_are_told_together(sampler, study):
    search = study(sampler, direction=("maximize", "minimize"))
    for index in range(count := enough(sampler) - 1):
        proposal = search.propose()
        search.report(proposal.trial, 1, 0.5)
        search.tell(proposal.trial, "finished", (good(proposal.params), float(index)), "")
    assert inside(search.propose().params, space_of(sampler))
    assert [len(trial.values) for trial in stored(search)[:count]] == [2] * count


CONDITIONAL = {
    "s.depth": Integer(low=1, high=3, when={"s.kind": ("deep", "deeper")}),
    "s.kind": Choice(values=("flat", "deep", "deeper")),
    "s.inner": Choice(values=(0, 1), when={"s.depth": 2}),
}


@every_sampler
def test_a_conditional_parameter_is_proposed_only_where_it_means_something(sampler, study):
    space = CONDITIONAL if sampler != "cmaes" else CONDITIONAL | {k: SPACE[k] for k in ("s.rate", "s.scale")}
    search = study(sampler, space=space)
    kinds = set()
    while len(kinds) < 3 or not any("s.inner" in trial.params for trial in search.study.trials):
        proposal = search.propose()
        params = proposal.params
        assert ("s.depth" in params) == (params["s.kind"] != "flat")
        assert ("s.inner" in params) == (params.get("s.depth") == 2)
        kinds.add(params["s.kind"])
        search.tell(proposal.trial, "finished", float(len(params)), "")
        assert proposal.number < 200


def test_the_first_trials_of_many_places_are_not_all_drawn_at_random(study, monkeypatch):
    drawn = []
    original = optuna.samplers.RandomSampler.sample_independent
    monkeypatch.setattr(
        optuna.samplers.RandomSampler,
        "sample_independent",
        lambda *a: drawn.append(a[2].number) or original(*a),
    )
    search = study("tpe")
    for _ in range(25):
        search.propose()
    assert set(drawn) == set(range(10))


@pytest.mark.parametrize("sampler", ["qmc", "gp"])
def test_the_start_of_a_sequence_covers_the_range_evenly(sampler, study):
    search = study(sampler, sampler_options={"n_startup_trials": 8} if sampler == "gp" else {})
    eighths = {int(search.propose().params["s.scale"] / 2.0 * 8) for _ in range(8)}
    assert eighths == set(range(8))


def test_a_grid_tries_every_configuration_once_and_then_ends(study):
    search = study("grid")
    tried = finish(search, 24)
    assert len({tuple(params.items()) for params in tried}) == 24
    assert search.propose() is None
    assert search.exhausted == "all 24 configurations of the space have been proposed"


def test_what_has_come_to_its_end_answers_for_an_equal_proposal(study):
    search = study("random", space={"s.kind": Choice(values=("a", "b", "c", "d", "e", "f"))})
    first = search.propose()
    search.tell(first.trial, "finished", 2.5, "")
    while (proposal := search.propose()).params != first.params:
        search.tell(proposal.trial, "pruned", None, "")
    assert proposal.repeats == first.trial
    assert search.ending(first.trial).values == (2.5,)


def test_trials_of_another_context_do_not_answer(study):
    space = {"s.kind": Choice(values=("a", "b", "c"))}
    finish(study("random", space=space), 1)
    search = study("random", space=space, seed=1, context="longer")
    assert [search.propose().repeats for _ in range(2)] == [None, None]


def said(search: Search, space: Space = SPACE, objectives: int = 1) -> str:
    found = list(sampler_errors(search, space, objectives)) or draw_errors(search, space, objectives)
    return "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("search", "text"),
    [
        (Search(sampler_options={"n_startup_trial": 3}), "Did you mean `n_startup_trials`?"),
        (Search(sampler_options={"n_ei_candidates": "many"}), "must be int (got 'many')"),
        (Search(sampler_options={"seed": 3}), "has no such option"),
        (Search(sampler="qmc", sampler_options={"qmc_type": "sobel"}), "the sampler refuses them"),
        (Search(sampler="grid"), "space.s.rate: is a continuous range, which a grid cannot walk through"),
    ],
)
def test_what_a_sampler_cannot_do_is_said_before_anything_starts(search, text):
    assert text in said(search)


def test_options_reach_the_sampler(study):
    assert not said(Search(sampler="nsgaii", sampler_options={"population_size": 7}))
    assert study("nsgaii", sampler_options={"population_size": 7}).study.sampler.population_size == 7


def test_one_objective_samplers_refuse_several():
    assert "takes one objective" in said(Search(sampler="cmaes"), objectives=2)
    assert not said(Search(sampler="nsgaii"), objectives=2)


HUB_PACKAGE = """
import optuna

class Steps(optuna.samplers.RandomSampler):
    def __init__(self, seed: int | None = None, stride: int = 1):
        super().__init__(seed)
        self.stride = stride

__all__ = ["Steps"]
"""


def test_a_sampler_from_a_folder_laid_out_like_the_hub_is_used(study, tmp_path):
    pytest.importorskip("optunahub")
    package = tmp_path / "registry" / "samplers" / "steps"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(HUB_PACKAGE)
    wanted = HubSampler(hub="samplers/steps", folder=str(tmp_path / "registry"))
    assert not said(Search(sampler=wanted, sampler_options={"stride": 3}))
    assert "Did you mean `stride`?" in said(Search(sampler=wanted, sampler_options={"strid": 3}))
    search = study(wanted, sampler_options={"stride": 3}, seed=5)
    assert search.study.sampler.stride == 3
    first = finish(search, 3)
    assert finish(study(wanted, "again", seed=5), 3) == first


def test_a_missing_hub_or_package_is_explained(tmp_path, monkeypatch):
    wanted = HubSampler(hub="samplers/nothing", folder=str(tmp_path))
    text = said(Search(sampler=wanted))
    assert "there is no package at" in text or "pip install 'flowsweep[hub]'" in text


def test_a_proposal_can_be_made_ahead(study):
    search = study("gp")
    search.prepare()
    made = search.propose()
    assert inside(made.params, SPACE)
    assert search.ready()
    search.prepare()
    search._next.result(timeout=60)
    search.close()
    assert stored(search)[1].user_attrs["reason"] == "never placed"
