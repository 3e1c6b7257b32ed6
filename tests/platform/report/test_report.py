"""The report is one file that says everything on record and needs nothing beside it."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pytest
from flowsweep.platform.errors import UserError
from flowsweep.platform.journal.events import (
    SweepEnded,
    SweepStarted,
    TrialEnded,
    TrialPlaced,
    TrialProposed,
    TrialStopped,
)
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.paths import Home
from flowsweep.platform.report.importance import FEWEST_TRIALS, parameter_importance
from flowsweep.platform.report.report import write_report
from flowsweep.search_spaces.parameters import Real
from flowsweep.trainables.events import Evaluated, Produced, StageComputed, StageReused

HOSTILE = "<script>alert('x')</script> & \" $\\frac </title> {{ 7 * 7 }} <img src=http://evil.example/x>"
SEARCHED = {
    "tune.rate": {"type": "real", "low": 0.01, "high": 1.0, "log": True, "reason": ""},
    "tune.offset": {"type": "real", "low": -4.0, "high": 4.0, "log": False, "reason": ""},
    "tune.kind": {"type": "choice", "values": ["a", "b"], "reason": ""},
}
SPEC = {
    "name": "maze",
    "system": "toy",
    "dataset": "toy/points",
    "objective": {"metric": "tune/success_rate", "direction": "maximize"},
    "seeds": {"tune": [0, 1], "test": [10, 11, 12]},
}


class Recorder:
    """Writes a sweep's journal as a driver would."""

    def __init__(self, paths, **changes):
        self.paths, self.journal = paths, Journal(paths.journal)
        started = {
            "name": "maze",
            "spec": SPEC,
            "plan": {"searched": SEARCHED},
            "source": {
                "kind": "dataset",
                "name": "toy/points",
                "fingerprint": "ab" * 32,
                "transitions": 20000,
                "findings": [],
            },
            "code_version": "c0de",
            "flowsweep_version": "0.1.0",
            "host": "node-1",
            "device": "cpu",
            "versions": {"torch": "2.13.0"},
        }
        self.journal.append(SweepStarted(**{**started, **changes}))

    def propose(self, trial, phase="search", through="tune", params=None, **more):
        seeds = SPEC["seeds"]["tune" if phase == "search" else "test"]
        params = params or {"tune.rate": 0.1, "tune.offset": 1.0, "tune.kind": "a"}
        self.journal.append(
            TrialProposed(phase=phase, params=params, configs={}, seeds=seeds, through=through, **more), trial
        )
        self.journal.append(TrialPlaced(node="node-1", pid=1, device="cpu"), trial)
        return seeds

    def evaluated(self, trial, seeds, value, step=100, stage="tune"):
        shares = [
            min(1.0, max(0.0, value + 0.1 * (seed % 3 - 1))) if math.isfinite(value) else value
            for seed in seeds
        ]
        episodes = [
            {"success": [float(i < round(10 * share)) for i in range(10)]} if math.isfinite(share) else {}
            for share in shares
        ]
        self.journal.append(Evaluated(stage=stage, step=step, steps=100, seeds=list(seeds), metrics={"success_rate": shares}, episodes=episodes, episodes_spent=10 * len(seeds), cpu_s=1.0), trial)  # fmt: skip

    def trial(self, trial, value=None, status="finished", reason="all steps done", at=(50, 100), **proposal):
        """A whole trial; ``at`` are the steps of its evaluations."""
        seeds = self.propose(trial, **proposal)
        stage = proposal.get("through", "tune")
        for step in at if value is not None else ():
            self.evaluated(trial, seeds, value * step / 100, step, stage)
        if status == "pruned":
            self.journal.append(TrialStopped(rule="asha", reason=reason), trial)
        self.journal.append(TrialEnded(status=status, reason=reason, value=value), trial)

    def stage(self, trial, reused, cpu_s=12.0):
        facts = {"stage": "base", "key": "a" * 64, "seed": 0}
        if reused:
            self.journal.append(StageReused(**facts, saved_cpu_s=cpu_s), trial)
        else:
            self.journal.append(StageComputed(**facts, steps=9, cpu_s=cpu_s, wall_s=13.0, bytes=5), trial)

    def report(self, status="finished"):
        if status:
            self.journal.append(SweepEnded(status=status, reason=""))
        self.journal.close()
        return write_report(self.paths).read_text(encoding="utf-8")


class Reading(HTMLParser):
    """What a browser would find: tags, what they load, and the text."""

    VOID = frozenset({"meta", "img", "br", "input", "link"})

    def __init__(self, page):
        super().__init__()
        self.tags, self.loaded, self.text, self.open = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [
            value for name, value in attrs if name in ("src", "href", "srcset", "poster", "data", "action")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.fixture
def paths(tmp_path):
    return Home(tmp_path).sweep("maze")


@pytest.fixture
def full(paths):
    """A sweep in which everything that can happen has happened."""
    recorder = Recorder(paths, source={"kind": "dataset", "name": "toy/points", "fingerprint": "ab" * 32, "transitions": 20000, "findings": [{"level": "warning", "text": "few successes"}]})  # fmt: skip
    for index in range(10):
        params = {"tune.rate": 0.01 * 1.5**index, "tune.offset": index - 5.0, "tune.kind": "ab"[index % 2]}
        recorder.trial(f"t{index:04d}", value=0.08 * index, params=params)
        recorder.stage(f"t{index:04d}", reused=index > 0)
    recorder.trial("t0010", value=0.1, at=(50,), status="pruned", reason="below the top third at step 50")
    recorder.trial("t0011", status="diverged", reason="critic loss became non-finite at step 7")
    recorder.trial("t0012", status="failed", reason="RuntimeError: the toy broke")
    recorder.trial("t0013", value=math.nan)
    recorder.trial("confirm-1-t0009", value=0.7, at=(100,), phase="confirm", confirms="t0009")
    recorder.trial("confirm-2-t0008", value=0.5, at=(100,), phase="confirm", confirms="t0008")
    recorder.trial("baseline-base", value=0.05, at=(100,), phase="baseline", through="base")
    return recorder


def test_the_page_loads_nothing_and_runs_nothing(full):
    page = Reading(full.report())
    assert page.open == []
    assert len(page.loaded) == 4  # curves, landscape, importance, confirmation
    assert all(value.startswith("data:image/") for value in page.loaded)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)


def test_every_trial_is_on_the_page_with_what_became_of_it(full):
    words = Reading(full.report()).words
    for trial in [f"t{index:04d}" for index in range(14)]:
        assert trial in words
    for reason in ("below the top third at step 50", "non-finite at step 7", "RuntimeError: the toy broke"):
        assert reason in words


def test_the_outcome_comes_first_and_is_that_of_the_test_seeds(full):
    page = full.report()
    lead = re.search(r'<p class="lead">(.*?)</p>', page, re.DOTALL)[1]
    # The mean over seeds 10, 11 and 12 is 0.7 again; the search had found 0.72.
    assert "t0009 is the best trial: success_rate 0.7 (95 % interval" in lead
    assert "Against baseline base it is really better: +0.633" in lead


def test_dataset_findings_versions_and_savings_are_said(full):
    words = Reading(full.report()).words
    assert "few successes" in words
    assert "torch 2.13.0" in words
    assert "ab" * 32 in words
    assert "108 s" not in words
    assert "1.8 min" in words  # nine reuses of 12 s


@pytest.mark.parametrize("status", ["finished", "interrupted", None])
def test_a_sweep_without_trials_still_has_a_page(paths, status):
    words = Reading(Recorder(paths).report(status)).words
    assert "No trial has run to its end with a score." in words
    assert ("not finished" in words) == (status != "finished")


def test_one_trial_makes_a_page_without_false_certainty(paths):
    recorder = Recorder(paths)
    recorder.trial("t0000", value=0.4)
    words = Reading(recorder.report()).words
    assert "t0000 is the best trial: success_rate 0.35" in words
    assert "What mattered" not in words
    assert "Confirmation" not in words


def test_values_that_are_not_numbers_do_not_break_the_page(paths):
    recorder = Recorder(paths)
    for index, value in enumerate([math.nan, math.inf, -math.inf]):
        recorder.trial(f"t{index:04d}", value=value)
    recorder.trial("confirm-1-t0000", value=math.nan, phase="confirm", confirms="t0000")
    words = Reading(recorder.report()).words
    assert "nan" in words
    assert "t0002" in words


def test_hostile_text_is_shown_as_text(paths):
    recorder = Recorder(
        paths,
        host=HOSTILE,
        source={
            "kind": "dataset",
            "name": HOSTILE,
            "fingerprint": HOSTILE,
            "findings": [{"level": "warning", "text": HOSTILE}],
        },
        plan={"searched": {HOSTILE: SEARCHED["tune.rate"], "$x_{": SEARCHED["tune.offset"]}},
    )
    for index in range(9):
        recorder.trial(f"t{index}", value=0.1 * index, params={HOSTILE: 0.1 + index / 20, "$x_{": index - 3.0, "tune.kind": HOSTILE})  # fmt: skip
    recorder.trial("bad", status="failed", reason=HOSTILE)
    page = Reading(recorder.report())
    assert "script" not in page.tags
    assert all(value.startswith("data:image/svg+xml") for value in page.loaded)
    assert re.sub(r"\s+", " ", HOSTILE) in page.words
    assert "49" not in re.findall(r"\{\{.*?\}\}", page.words)


def test_media_is_embedded_and_never_taken_from_outside_the_sweeps_folder(paths, tmp_path):
    recorder = Recorder(paths)
    recorder.trial("t0000", value=0.4)
    (paths.root / "trials").mkdir()
    (paths.root / "trials" / "best.mp4").write_bytes(b"inside")
    (tmp_path / "secret.png").write_bytes(b"outside")
    for name in ("trials/best.mp4", "../../secret.png", "trials/gone.png"):
        recorder.journal.append(Produced(path=name, role="media"), "t0000")
    page = Reading(recorder.report())
    media = [value for value in page.loaded if not value.startswith("data:image/svg")]
    assert media == ["data:video/mp4;base64,aW5zaWRl"]


def test_a_sweep_that_never_began_is_refused_with_a_way_out(paths):
    with Journal(paths.journal) as journal:
        journal.append(TrialEnded(status="failed", reason=""), "t0")
    with pytest.raises(UserError, match="no further than its name"):
        write_report(paths)


def test_writing_again_replaces_the_page_and_leaves_nothing_aside(full):
    full.report()
    write_report(full.paths)
    assert [path.name for path in full.paths.root.iterdir() if "report" in path.name] == ["report.html"]


SPACE = {name: Real(low=0.0, high=1.0) for name in ("matters", "does_not")}


def test_importance_finds_the_parameter_that_matters():
    points = [{"matters": i / 20, "does_not": (i * 7 % 20) / 20} for i in range(20)]
    found = parameter_importance(SPACE, [(point, point["matters"] ** 2) for point in points], "maximize")
    assert found.shares["matters"] > 0.7
    assert sum(found.shares.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "values",
    [[0.1 * i for i in range(FEWEST_TRIALS - 1)], [0.5] * 20, [math.nan] * 20],
    ids=["few", "equal", "nan"],
)
def test_importance_is_not_claimed_where_nothing_can_be_said(values):
    trials = [({"matters": i / 20, "does_not": 0.5}, value) for i, value in enumerate(values)]
    assert parameter_importance(SPACE, trials, "maximize") is None
