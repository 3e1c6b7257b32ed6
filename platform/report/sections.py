"""What a report says of a sweep: record in, page out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from ...trainables.events import StageComputed, StageReused
from ..record.results import (
    LeaderboardRow,
    Savings,
    SweepState,
    above,
    best,
    first_against,
    leaderboard,
    savings,
    why_best,
)
from ..sweep.goals import Goals
from ..sweep.yaml_file import dump_yaml
from . import figures
from .findings import not_at_work, speed
from .front import noted, trade_off
from .limits import limit_curves
from .page import Column, Labelled, Page, Row, Section, Table
from .text import NOTHING, counted, duration, listing, moment, number, span, times

GOOD_ENDS = ("finished", "pruned")
OF_DATASETS = ("episodes", "transitions", "observation_dim", "action_dim", "reward_min", "reward_max")
"""What is told of a dataset; of environments and problems, everything is."""


def report_page(record: SweepState) -> Page:
    """Everything there is to say about a sweep, whatever state it is in."""
    rows, spent = leaderboard(record), savings(record)
    sections = [
        confirmation(record, [row for row in rows if row.phase != "search"]),
        ranking(record, [row for row in rows if row.phase == "search"]),
        trade_off(record, [row for row in rows if row.phase == "search"]),
        *search_figures(record),
        not_at_work(record),
        saved(record, spent),
        speed(record),
        stopped(record),
        failures(record),
        learnt_from(record),
        shown(record),
        again(record),
        Section("The sweep as it was run", code=dump_yaml(record.spec)),
    ]
    return Page(
        record.name,
        lead(record),
        facts(record),
        cards(record, spent),
        [section for section in sections if section],
    )


def lead(record: SweepState) -> str:
    """The outcome in one or two sentences."""
    first = best(record)
    state = "" if record.status == "finished" else f" The sweep is not finished (on record: {record.status})."
    if first is None:
        return f"No trial has run to its end with a score.{state}"
    name, score = figures.metric_name(record), first.score
    where = (
        "on seeds the search has not seen" if first.phase == "confirm" else "on the seeds it was chosen by"
    )
    interval = f" (95 % interval {span(score.low, score.high)})" if math.isfinite(score.low) else ""
    text = (
        f"{first.confirms or first.trial} is the best trial: {name} {number(score.mean)}{interval} {where}."
    )
    text += noted(record, first)
    text += f" It is the {why_best(record, first)}." if Goals.recorded(record.spec).constraints else ""
    for other in above(record, first):
        beside = figures.label(record, other.trial)
        text += f" No trial is above the {beside}, which has {number(other.score.mean)}."
    baseline = next((trial for trial in record.phase("baseline") if trial.status == "finished"), None)
    against = first_against(record, first.trial, baseline.trial) if baseline else None
    if baseline and against:
        text += f" Against {figures.label(record, baseline.trial)} it is {against.verdict}."
    return text + state


def facts(record: SweepState) -> list[Labelled]:
    """What was run on what, when and with what."""
    started, spec = record.started, record.spec
    assert started is not None
    data, versions = record.source_facts, started.versions
    goal = "larger is better" if record.direction == "maximize" else "smaller is better"
    begun, ended = (record.sessions[0][0], record.sessions[-1][1]) if record.sessions else (None, None)
    seeds = spec.get("seeds", {})
    listed = [
        ("System", f"{spec['system']}, preset {spec.get('preset', 'default')}"),
        (record.source.kind.capitalize(), record.source.name),
        ("Fingerprint", data.get("fingerprint", "")),
        ("Objective", f"{record.metric}, {goal}"),
        ("Seeds", f"tune {listing(seeds.get('tune', ()))}; test {listing(seeds.get('test', ()))}"),
        ("When", f"{moment(begun)} to {moment(ended)}" + _interruptions(len(record.sessions))),
        ("Where", f"{started.host or NOTHING}, {started.device or NOTHING}"),
        (
            "Code",
            f"flowsweep {started.flowsweep_version or NOTHING}, {started.code_version or NOTHING}",
        ),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return [Labelled(label, text) for label, text in listed if text]


def cards(record: SweepState, spent: Savings) -> list[Labelled]:
    """The figures one looks for first."""
    first = best(record)
    search = record.phase("search")
    ended = sum(trial.status == "finished" for trial in search)
    return [
        Labelled(figures.metric_name(record), number(first.score.mean) if first else NOTHING),
        Labelled(f"of {counted(len(search), 'trial')} ran to the end", str(ended)),
        Labelled("core time spent", duration(spent.computed_cpu_s)),
        Labelled("cheaper through sharing and stopping", times(spent.factor)),
        Labelled("evaluation episodes", number(spent.episodes_spent)),
    ]


def confirmation(record: SweepState, rows: list[LeaderboardRow]) -> Section | None:
    """The best trials and the baselines on the test seeds, and whether the first is really better."""
    if not rows:
        return None
    first = next((row for row in rows if row.rank and row.phase == "confirm"), rows[0])
    heads = [
        Column("trial"), Column("status", status=True), Column("score", number=True), Column("95 % interval"),
        Column("per seed"), Column("in the search", number=True), Column("interval from"),
    ]  # fmt: skip
    body = [
        Row(
            [
                figures.label(record, row.trial),
                row.status,
                number(row.score.mean),
                span(row.score.low, row.score.high),
                listing(map(number, row.per_seed)),
                number(row.search_value),
                row.score.method,
            ],
            first=row is first,
        )
        for row in rows
    ]
    picture = figures.estimates_picture(record, rows)
    verdicts = [
        f"{figures.label(record, first.trial)} against {figures.label(record, other.trial)}: {found.verdict}."
        for other in rows
        if other is not first and (found := first_against(record, first.trial, other.trial))
    ]
    intro = (
        "Trained and scored anew on the test seeds, so free of the luck that a search selects for. "
        "The score in the search stands beside it."
    )
    return Section("Confirmation", [intro, *verdicts], [picture] if picture else [], [Table(heads, body)])


def ranking(record: SweepState, rows: list[LeaderboardRow]) -> Section:
    """Every search trial, best first; those without a score last."""
    names = list(dict.fromkeys(name for trial in record.phase("search") for name in trial.params))
    heads = [
        Column("#", number=True), Column("trial"), Column("status", status=True), Column("score", number=True),
        Column("95 % interval"), *(Column(name, number=True) for name in names), Column("step", number=True),
        Column("episodes", number=True), Column("core time", number=True),
    ]  # fmt: skip
    scored = {row.trial: row for row in rows}
    order = [*scored, *(trial.trial for trial in record.phase("search") if trial.trial not in scored)]
    body = [
        Row(_ranking_cells(record, name, scored.get(name), names), first=_leads(scored.get(name)))
        for name in order
    ]
    spec = record.spec
    seeds = spec.get("seeds", {}).get("tune", ())
    methods = Counter(row.score.method for row in rows).most_common(1)
    how = f"; intervals: {methods[0][0]}" if methods else ""
    caption = f"{record.metric} at the last evaluation on tuning seeds {listing(seeds)}{how}. Trials that did not run to their end are not ranked."
    return Section("Search", [], [], [Table(heads, body, caption)] if body else [])


def search_figures(record: SweepState) -> Iterator[Section]:
    """Learning curves, landscape and importance, as far as there is something to see."""
    found, first = figures.importance(record), best(record)
    first_trial = (first.confirms or first.trial) if first else None
    if picture := figures.curves_picture(record, first_trial):
        yield Section("Learning curves", figures=[picture, *limit_curves(record, first_trial)])
    if picture := figures.landscape_picture(record, found.shares if found else {}, first_trial):
        yield Section("Landscape", figures=[picture])
    if found:
        yield Section("What mattered", figures=[figures.importance_picture(found)])


def saved(record: SweepState, spent: Savings) -> Section:
    """What sharing stages and stopping early spared, by stage."""
    listed = [
        ("spent on everything", duration(spent.computed_cpu_s)),
        ("not spent, because a stage's output was already there", duration(spent.reused_cpu_s)),
        ("spent on trials that were stopped early", duration(spent.pruned_spent_cpu_s)),
        ("not spent, because they were stopped (estimate)", duration(spent.pruned_saved_cpu_s)),
    ]
    totals = Table([Column("core time"), Column("", number=True)], [Row(row) for row in listed])
    stages = dict.fromkeys(use.stage for trial in record.trials.values() for use in trial.stages)
    by_stage = [Row(_stage_cells(record, stage)) for stage in stages]
    heads = [
        Column("shared stage"), Column("computed", number=True), Column("reused", number=True),
        Column("core time", number=True), Column("spared", number=True),
    ]  # fmt: skip
    return Section(
        "What it cost, and what it did not", tables=[totals, *([Table(heads, by_stage)] if by_stage else [])]
    )


def stopped(record: SweepState) -> Section | None:
    """Trials ended early, each with the reason."""
    rows = [
        Row(
            [
                trial.trial,
                "{} of {}".format(*map(number, trial.progress)),
                number(trial.value),
                trial.stopped_by or trial.reason,
            ]
        )
        for trial in record.trials.values()
        if trial.status == "pruned"
    ]
    heads = [Column("trial"), Column("at step"), Column("score", number=True), Column("why", long=True)]
    tables = [Table(heads, rows)] if rows else []
    ends = [f"No further trial was started: {limit}." for limit in record.spent]
    return Section("Stopped early", ends, tables=tables) if rows or ends else None


def failures(record: SweepState) -> Section | None:
    """Trials that went wrong, each with the reason."""
    rows = [
        Row([trial.trial, trial.status, _words(trial.failure), str(trial.retries), trial.reason or NOTHING])
        for trial in record.trials.values()
        if trial.status.has_ended and trial.status not in GOOD_ENDS
    ]
    heads = [
        Column("trial"), Column("what", status=True), Column("class"), Column("tried again", number=True),
        Column("why", long=True),
    ]  # fmt: skip
    return Section("Failures", tables=[Table(heads, rows)]) if rows else None


def learnt_from(record: SweepState) -> Section | None:
    """What was learnt from, and what checking it turned up."""
    kind, data = record.source.kind, record.source_facts
    told = (
        OF_DATASETS
        if kind == "dataset"
        else [key for key in data if key not in ("kind", "name", "fingerprint")]
    )
    listed = [
        f"{key.replace('_', ' ')} {value if isinstance(value, str) else number(value)}"
        for key in told
        if isinstance(value := data.get(key), str | int | float)
    ]
    rows = [Row([found["level"], found["text"]]) for found in data.get("findings", ())]
    table = [Table([Column("level", status=True), Column("finding", long=True)], rows)] if rows else []
    text = [", ".join(listed)] if listed else []
    return Section(kind.capitalize(), text, tables=table) if listed or rows else None


def shown(record: SweepState) -> Section | None:
    """Pictures and videos of what the confirmed trials have learnt."""
    pictures = figures.media_pictures(record)
    problems = record.source.kind == "problem"
    title = "What the trials make of the problems" if problems else "What the policies do"
    return Section(title, figures=pictures, wide=problems) if pictures else None


def again(record: SweepState) -> Section:
    """How to do it again."""
    commands = [
        (f"flowsweep rerun {record.name}", "train the best trial again and judge whether it is reproduced"),
        (f"flowsweep best {record.name}", "its full configuration and the files of its policies"),
        (f"flowsweep show {record.name}", "the tables in the terminal"),
    ]
    code = "\n".join(f"{command:<{max(len(c) for c, _ in commands)}}   # {why}" for command, why in commands)
    return Section("Do it again", code=code)


def _ranking_cells(record: SweepState, name: str, row: LeaderboardRow | None, names: list[str]) -> list[str]:
    trial = record.trials[name]
    step, steps = trial.progress
    return [
        str(row.rank) if row and row.rank else "",
        name,
        trial.status,
        number(row.score.mean if row else None),
        span(row.score.low, row.score.high) if row else NOTHING,
        *(number(trial.params.get(parameter)) for parameter in names),
        number(step) if step == steps else f"{number(step)} of {number(steps)}",
        number(trial.episodes_spent),
        duration(trial.cpu_s),
    ]


def _stage_cells(record: SweepState, stage: str) -> list[str]:
    uses = [use for trial in record.trials.values() for use in trial.stages if use.stage == stage]
    computed = [use for use in uses if isinstance(use, StageComputed)]
    reused = [use for use in uses if isinstance(use, StageReused)]
    return [
        stage,
        str(len(computed)),
        str(len(reused)),
        duration(sum(use.cpu_s for use in computed)),
        duration(sum(use.saved_cpu_s for use in reused)),
    ]


def _leads(row: LeaderboardRow | None) -> bool:
    return row is not None and row.rank == 1


def _words(name: str | None) -> str:
    return name.replace("_", " ") if name else NOTHING


def _interruptions(sessions: int) -> str:
    return f", resumed {counted(sessions - 1, 'time')}" if sessions > 1 else ""
