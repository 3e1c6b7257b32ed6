"""share: how several sweeps on one cluster divide it, changeable while they run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import UserError
from ..paths import Home, SweepPaths
from .shared import Json, console, grid, print_json

app = typer.Typer()


@app.command()
def share(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A recorded sweep; all that run when left out.")
    ] = None,
    max_concurrent: Annotated[
        str | None,
        typer.Option(metavar="COUNT", help="Trials at once at most; 0 holds the sweep; `all` lifts the cap."),
    ] = None,
    priority: Annotated[
        int | None, typer.Option(help="Larger is served first; equals share equally. 0 unless set.")
    ] = None,
    as_json: Json = False,
) -> None:
    """How many trials a sweep may run at once, and before whom; alone: who has what.

    Takes effect within seconds, also on sweeps that run elsewhere over this home. A trial that must make room stores its
    state and goes on later.

    Example: `flowsweep share NAME --max-concurrent 2 --priority 5`
    """
    home, said = Home.default(), _said(max_concurrent, priority)
    if name is None:
        if said:
            raise UserError("is required", key="NAME", fix="Say whose: `flowsweep share NAME --priority 5`.")
        _tell_all(home, as_json)
        return
    from ..running.sharing import Wishes
    from .records import recorded

    paths = recorded(name)
    wishes = Wishes(paths.wishes)
    if said:
        wishes.add(**said)
    view = {"sweep": name, **vars(wishes.last()), "now": _places_of(paths)}
    if as_json:
        print_json(view)
        return
    cap = "as many as fit" if view["max_concurrent"] is None else f"at most {view['max_concurrent']}"
    order = "that of its sweep file" if view["priority"] is None else view["priority"]
    typer.echo(f"{name}: {cap} at once, priority {order}.{_now(view['now'])}")


def _said(max_concurrent: str | None, priority: int | None) -> dict[str, Any]:
    from ..running.sharing import ALL

    said: dict[str, Any] = {} if priority is None else {"priority": priority}
    if max_concurrent == ALL:
        said["max_concurrent"] = ALL
    elif max_concurrent is not None:
        if not max_concurrent.isdecimal():
            fix = "Give a number of trials, 0 to hold the sweep, or `all`."
            raise UserError("is no number", key="--max-concurrent", value=max_concurrent, fix=fix)
        said["max_concurrent"] = int(max_concurrent)
    return said


def _places_of(paths: SweepPaths) -> dict[str, Any] | None:
    """What the sweep's driver last said of its places; None while nobody runs it."""
    from ..journal.events import CapacityChanged
    from ..journal.journal import read, writer_of

    if writer_of(paths.journal) is None:
        return None
    found = [entry.event for entry in read(paths.journal) if isinstance(entry.event, CapacityChanged)]
    return found[-1].model_dump(exclude={"kind"}) if found else None


def _now(places: dict[str, Any] | None) -> str:
    if places is None:
        return " Nobody runs it now."
    return f" Now {places['trials']} of the {places['fit']} that fit: {places['reason']}."


def _tell_all(home: Home, as_json: bool) -> None:
    from ..running.sharing import Wishes

    found = []
    for folder in sorted(home.sweeps.glob("*")):
        paths = home.sweep(folder.name)
        if paths.journal.exists() and (places := _places_of(paths)):
            found.append({"sweep": folder.name, **vars(Wishes(paths.wishes).last()), "now": places})
    if as_json:
        print_json(found)
    elif not found:
        typer.echo("No sweep of this home runs.")
    else:
        rows = [
            [
                view["sweep"],
                "" if view["priority"] is None else str(view["priority"]),
                "" if view["max_concurrent"] is None else str(view["max_concurrent"]),
                f"{view['now']['trials']} of {view['now']['fit']}",
                view["now"]["reason"],
            ]
            for view in found
        ]
        console.print(grid(None, ["sweep", "priority", "cap", "trials", ""], rows), soft_wrap=True)
