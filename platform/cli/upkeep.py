"""gc, delete, doctor: commands that keep an installation and its disk in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ..paths import Home
from .records import recorded
from .shared import Json, SweepName, console, gib, grid, print_json, styled
from .stages import Store, opened_store

if TYPE_CHECKING:
    from ..doctor.findings import Finding
    from ..store.base import Stages
    from ..store.collect import Decision, Limits
    from ..store.collect_disk import Collected

app = typer.Typer()

STYLES = {"ok": "green", "info": "cyan", "warning": "yellow", "problem": "red"}


@app.command()
def gc(
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Delete unneeded stage outputs until all this takes no more: 20GiB."
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Delete only stage outputs unused for so long: 30d, 12h."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete; without it nothing is touched.")] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Free disk. Shows what would go and why; deletes with `--yes`.

    Leftovers of killed processes and superseded checkpoints always go; stage outputs only as far as a limit asks,
    and never one that a sweep may still need. Policies, pictures, journals and datasets are never deleted.

    Example: `flowsweep gc --budget 20GiB --older-than 30d`
    """
    from ..store.collect import decide, parse_age, parse_budget
    from ..store.collect_disk import limits_for, survey

    home = Home.default()
    limits_asked = (
        None if budget is None else parse_budget(budget),
        None if older_than is None else parse_age(older_than),
    )
    opened = opened_store(home, store)
    limits = limits_for(home, *limits_asked, opened)
    decisions = decide(survey(home, opened), limits)
    if not as_json:
        _tell_decisions(decisions)
    done = _delete(decisions, home, limits, opened, quiet=as_json) if yes else []
    if as_json:
        print_json(_gc_json(decisions, limits, done, dry_run=not yes))
    else:
        _tell_total(decisions, limits, done, dry_run=not yes)
    if any(collected.problem for collected in done):
        raise typer.Exit(1)


def _delete(
    decisions: list[Decision], home: Home, limits: Limits, store: Stages, *, quiet: bool
) -> list[Collected]:
    from ..store.collect_disk import carry_out

    def tell(collected: Collected) -> None:
        if collected.problem and not quiet:
            console.print(f"  kept: {collected.decision.item.what}: {collected.problem}", markup=False)

    return carry_out(decisions, home, limits, tell, store)


def _tell_decisions(decisions: list[Decision]) -> None:
    going = [decision for decision in decisions if decision.action == "drop"]
    if going:
        rows = [[d.item.kind, d.item.what, gib(d.item.bytes), d.reason] for d in going]
        console.print(grid(None, ["kind", "what", "size", "why"], rows, {2}))
    kept: Counter[tuple[str, str]] = Counter()
    for decision in decisions:
        if decision.action == "keep":
            kept[decision.item.kind, decision.reason] += decision.item.bytes
    rows = [[kind, gib(size), reason] for (kind, reason), size in kept.most_common(12)]
    if rows:
        console.print(grid("Stays", ["kind", "size", "why"], rows, {1}))


def _tell_total(decisions: list[Decision], limits: Limits, done: list[Collected], *, dry_run: bool) -> None:
    from ..store.collect import total_bytes

    kept, going = total_bytes(decisions, "keep"), total_bytes(decisions, "drop")
    if not dry_run:
        console.print(f"{gib(sum(collected.freed_bytes for collected in done))} freed.")
    elif going:
        console.print(
            f"{gib(going)} would be freed, {gib(kept)} stay. Nothing was touched; delete with --yes."
        )
    else:
        console.print(f"Nothing to free; {gib(kept)} stay.")
    if limits.budget_bytes is not None and kept > limits.budget_bytes:
        console.print(
            f"That is over the budget of {gib(limits.budget_bytes)}: the rest may not go, see why above."
        )
    elif not limits.asked and any(decision.reason == "no limit asks for it" for decision in decisions):
        console.print("Stage outputs nobody needs stay too, unless --budget or --older-than asks for them.")


def _gc_json(decisions: list[Decision], limits: Limits, done: list[Collected], *, dry_run: bool) -> dict:
    from ..store.collect import total_bytes

    return {
        "dry_run": dry_run,
        "limits": asdict(limits),
        "to_free_bytes": total_bytes(decisions, "drop"),
        "kept_bytes": total_bytes(decisions, "keep"),
        "freed_bytes": sum(collected.freed_bytes for collected in done),
        "decisions": [asdict(decision) for decision in decisions],
        "problems": [
            {"name": collected.decision.item.name, "problem": collected.problem}
            for collected in done
            if collected.problem
        ],
    }


@app.command()
def delete(
    name: SweepName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete; without it nothing is touched.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a sweep: its record, checkpoints, policies and tables. Shows what would go; deletes with `--yes`.

    Refused while it runs. Stage outputs it shares, datasets and what MLflow has stay.

    Example: `flowsweep delete quickstart --yes`
    """
    from ..record.deletion import delete_sweep, plan_deletion

    home, paths = Home.default(), recorded(name)
    plan = plan_deletion(paths, home)
    freed = delete_sweep(paths) if yes else 0
    if as_json:
        print_json({**asdict(plan), "dry_run": not yes, "freed_bytes": freed})
        return
    trials = ", ".join(f"{count} {status}" for status, count in plan.trials.items()) or "no trial"
    console.print(f"{plan.folder}: {gib(plan.bytes)}; {plan.status}; {trials}", markup=False, soft_wrap=True)
    for stays in plan.stays:
        console.print(f"  stays: {stays}", markup=False, soft_wrap=True)
    if plan.freeable:
        console.print(
            f"  {plan.freeable} stage outputs ({gib(plan.freeable_bytes)}) are used by no other sweep here; "
            "`flowsweep gc --budget SIZE` may free them afterwards."
        )
    console.print(
        f"{gib(freed)} freed." if yes else "Nothing was touched; delete with --yes.", highlight=False
    )


@app.command()
def doctor(
    tracker: Annotated[
        str | None, typer.Option(metavar="URI", help="Tracker to ask instead of the embedded one.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Cluster to ask instead of starting Ray here: http://HOST:8265, or a Ray address."),
    ] = None,
    no_ray: Annotated[bool, typer.Option("--no-ray", help="Do not start Ray.")] = False,
    allow_insecure: Annotated[
        bool, typer.Option("--allow-insecure", help="Speak to another machine in plain http without a token.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check this installation and say what to do. Exits with 1 when there is a problem.

    Nothing is changed. What is started (an embedded Ray, a rendering process) is told first and ended again.

    Example: `flowsweep doctor --tracker http://HOST:5000 --address http://HEAD:8265`
    """
    from ..doctor.checkup import checks, examine

    cluster = None if address is None else lambda: _ask_cluster(address, allow_insecure)
    todo = checks(Home.default(), tracker=tracker, ray=not no_ray, cluster=cluster)
    found = []
    for finding in examine(todo, lambda doing: typer.secho(f"... {doing}", err=True, dim=True)):
        found.append(finding)
        if not as_json:
            _tell_finding(finding)
    levels = Counter(finding.level for finding in found)
    if as_json:
        print_json({"findings": [asdict(finding) for finding in found], "levels": levels})
    else:
        problems, warnings = levels["problem"], levels["warning"]
        console.print(
            f"\n{problems} problem{'s' * (problems != 1)}, {warnings} warning{'s' * (warnings != 1)}."
            + (" More about each: docs/troubleshooting.md" if problems + warnings else "")
        )
    raise typer.Exit(1 if levels["problem"] else 0)


def _tell_finding(finding: Finding) -> None:
    console.print(
        styled((f"{finding.level:<8}", STYLES[finding.level]), f" {finding.check:<10} {finding.what}"),
        soft_wrap=True,
    )
    if finding.fix:
        console.print(f"{'':<20}{finding.fix}", markup=False, soft_wrap=True)


def _ask_cluster(address: str, allow_insecure: bool) -> Iterator[Finding]:
    """A dashboard is asked for its version; any other address gets a task."""
    from ..doctor.checkup import check_ray
    from ..doctor.findings import Finding

    if not address.startswith(("http://", "https://")):
        yield from check_ray(address)
        return
    from ...cluster.endpoint import endpoint, ray_version

    at = endpoint(address, allow_insecure=allow_insecure)
    yield Finding("cluster", "ok", f"{at.url} answers: Ray {ray_version(at)}")
