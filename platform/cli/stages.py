"""stages: what is stored for reuse, who uses it, and what it saved."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ..paths import Home
from .shared import Json, console, gib, grid, print_json

if TYPE_CHECKING:
    from ..store.base import Stages
    from ..store.stage_use import StoredStage

app = typer.Typer()

Store = Annotated[
    str | None,
    typer.Option("--store", metavar="PLACE", help="Another stage store: a folder, s3://... or gs://..."),
]


def opened_store(home: Home, asked: str | None) -> Stages:
    """The store a command means, once it has shown that it answers."""
    from ..store.opening import check_store, open_store

    check_store(home, asked, "--store")
    return open_store(home, asked, "--store")


@app.command()
def stages(store: Store = None, as_json: Json = False) -> None:
    """Show what is stored for reuse: what it cost, who uses it, and what reusing it has saved.

    Sorted by what was saved. Example: `flowsweep stages --json`
    """
    from ..running.live import duration
    from ..store.stage_use import saved_by_removed, stored_stages, sweep_uses

    home = Home.default()
    uses = sweep_uses(home)
    opened = opened_store(home, store)
    found = stored_stages(opened, uses)
    gone_s = saved_by_removed(found, uses)
    if as_json:
        rows = [_stage_json(stage) for stage in found]
        totals = {name: sum(row[name] for row in rows) for name in ("bytes", "cpu_s", "saved_cpu_s")}
        print_json({"stages": rows, **totals, "saved_cpu_s_by_removed": gone_s})
        return
    if found:
        _tell_stages(found)
    else:
        console.print("No stage output is stored yet. Try: flowsweep quickstart")
    if gone_s:
        console.print(f"Outputs that are no longer stored had saved another {duration(gone_s)}.")
    elsewhere = Counter(use.store for use in uses if use.store not in (None, opened.place))
    for place, count in elsewhere.items():
        console.print(
            f"{count} sweep{'s keep their' if count > 1 else ' keeps its'} stages in {place}: see --store.",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    for name in (use.name for use in uses if use.status == "damaged"):
        console.print(f"The journal of {name} is damaged: what it reused is not counted.", markup=False)


def _tell_stages(found: list[StoredStage]) -> None:
    from ..running.live import duration

    columns = [
        "stage",
        "key",
        "seed",
        "steps",
        "size",
        "cost",
        "created",
        "last used",
        "reused",
        "saved",
        "used by",
    ]
    console.print(grid(None, columns, [_stage_cells(stage) for stage in found], {2, 3, 4, 5, 8, 9}))
    console.print(
        f"\n{len(found)} stage outputs, {gib(sum(stage.bytes for stage in found))}; they took "
        f"{duration(sum(stage.cpu_s for stage in found))} of CPU time and saved "
        f"{duration(sum(stage.saved_cpu_s for stage in found))}."
    )


def _stage_json(stage: StoredStage) -> dict:
    users = [
        {"sweep": name, "status": status, "alive": (name, status) in stage.alive_users}
        for name, status in stage.users
    ]
    return {**asdict(stage), "users": users}


def _stage_cells(stage: StoredStage) -> list[str]:
    from ..running.live import duration

    users = [f"{name} ({status})" for name, status in (*stage.alive_users, *stage.users)]
    users = list(dict.fromkeys(users))
    more = f" and {len(users) - 2} more" if len(users) > 2 else ""
    return [
        stage.stage,
        stage.key[:12],
        "" if stage.seed is None else str(stage.seed),
        f"{stage.steps:,}",
        gib(stage.bytes),
        duration(stage.cpu_s),
        _day(stage.created),
        _day(stage.last_used),
        str(stage.reused),
        duration(stage.saved_cpu_s),
        ", ".join(users[:2]) + more if users else "no sweep here",
    ]


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%m-%d %H:%M")
