"""What a sweep has found and what it cost, printed for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .incidents import tell_incidents, tell_refusals
from .leaderboards import MOST_ROWS, print_goals, print_rows
from .shared import console, learnt_from, styled

TRACEBACK = "traceback.txt"
LAST_LINES = 6
"""Of a traceback; the rest is in its file."""

if TYPE_CHECKING:
    from ..paths import SweepPaths
    from ..record.results import LeaderboardRow, SweepState


def show_sweep(paths: SweepPaths, every_trial: bool = False) -> bool:
    """Print a sweep's tables for a person, their first rows unless every trial is wanted; True when one has finished."""
    from ...trainables.user_code.code import label_of
    from ..record.results import above, leaderboard, read_sweep, savings, why_best
    from ..record.results import best as best_row
    from ..running.live import duration
    from ..sweep.goals import Goals

    record = read_sweep(paths)
    rows = leaderboard(record)
    searched = [row for row in rows if row.phase == "search"]
    confirmed = [row for row in rows if row.phase != "search"]
    console.print(
        styled(
            "\n",
            (record.name, "bold"),
            f"  {record.status}  {label_of(record.spec['system'])}{learnt_from(record.source)}",
        )
    )
    most = None if every_trial else MOST_ROWS
    print_rows("Search (tuning seeds)", record, searched, most)
    print_goals(record, searched)
    _print_unscored(record, {row.trial for row in rows}, most)
    if confirmed:
        print_rows("Confirmation (test seeds, never seen by the search)", record, confirmed, most)
        _print_comparisons(record, confirmed)
    if not rows:
        _print_failure(record)
    first = best_row(record)
    if first and (above(record, first) or not Goals.recorded(record.spec).single):
        console.print(f"Best: {first.confirms or first.trial}, {why_best(record, first)}", markup=False)
    for limit in record.spent:
        console.print(f"  no further trial was started: {limit}", markup=False)
    _print_findings(record)
    saved = savings(record)
    console.print(
        f"\n{duration(saved.computed_cpu_s)} of CPU time spent; {saved.stages_reused} of "
        f"{saved.stages_reused + saved.stages_computed} stage outputs reused ({duration(saved.reused_cpu_s)} saved), "
        f"early stopping saved about {duration(saved.pruned_saved_cpu_s)}; {saved.episodes_spent:,} evaluation episodes."
    )
    _print_paces(record)
    tell_incidents(paths)
    tell_refusals(paths)
    if paths.report.exists():
        console.print(f"Report: {paths.report}", soft_wrap=True)
    return first is not None


def _print_unscored(record: SweepState, scored: set[str], most: int | None) -> None:
    unscored = [t for t in record.trials.values() if t.trial not in scored and t.status.has_ended]
    for trial in unscored[:most]:
        # The class says more than the status only where that is no more than `failed`.
        known = f"  [{trial.failure}]" if trial.failure not in (None, trial.status) else ""
        console.print(f"  {trial.trial}  {trial.status}: {trial.reason}{known}", markup=False)
    if most and len(unscored) > most:
        console.print(f"  … {len(unscored) - most:,} more that were not scored", style="dim", markup=False)


def _print_failure(record: SweepState) -> None:
    """Where nothing could be trained: why the first trial failed, and where."""
    failed = next((trial for trial in record.trials.values() if trial.failure), None)
    traceback = record.paths.trials / failed.trial / TRACEBACK if failed else None
    if failed is None or traceback is None or not traceback.exists():
        return
    console.print(
        f"\nNothing was trained. How {failed.trial} failed: {traceback}", markup=False, soft_wrap=True
    )
    for line in traceback.read_text(errors="replace").rstrip().splitlines()[-LAST_LINES:]:
        console.print(f"    {line}", markup=False, soft_wrap=True)


def _print_comparisons(record: SweepState, confirmed: list[LeaderboardRow]) -> None:
    from ..record.results import first_against

    trials = [row for row in confirmed if row.phase == "confirm" and row.rank]
    for other in (row for row in confirmed if row.phase == "baseline" and row.rank):
        for row in trials[:1]:
            verdict = first_against(record, row.trial, other.trial)
            if verdict:
                console.print(f"  {row.trial} against {other.trial}: {verdict.verdict}", markup=False)


def _print_findings(record: SweepState) -> None:
    """Searched ranges that could not matter, and settings that were not at work."""
    from ..record.findings import findings, summarized, trials_text

    found = summarized(findings(record))
    if not found:
        return
    console.print(styled(("\nSettings that were not at work", "bold")))
    total = len(record.phase("search"))
    for one in found:
        console.print(f"  {one.setting}  ({trials_text(one, total)})  {one.reason}", markup=False)


def _print_paces(record: SweepState) -> None:
    from ..record.pace import paces

    said = [
        f"{stage} {1000 * speed.cpu_s_per_update:.3g} CPU-ms"
        + (f" ({_plain(speed.updates_per_s)} per second)" if speed.updates_per_s else "")
        for stage, speed in paces(record).items()
        if speed.cpu_s_per_update is not None
    ]
    if said:
        console.print(f"One update of one seed took: {', '.join(said)}.", markup=False)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
