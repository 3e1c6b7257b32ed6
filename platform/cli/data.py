"""Commands about datasets: make them here, bring them in, look at them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from .shared import Json, ProgressBar, console, gib, grid, print_json, settings, styled

if TYPE_CHECKING:
    from ...trainables.data.dataset import FlatDataset

app = typer.Typer(
    help="Real offline datasets, as Minari datasets: make, import, list and inspect them.",
    no_args_is_help=True,
)

Environment = Annotated[
    str | None,
    typer.Option(
        "--environment", metavar="ID", help="Gymnasium id of the environment policies are scored in."
    ),
]
MaxEpisodeSteps = Annotated[
    int | None,
    typer.Option(
        "--max-episode-steps", min=1, help="Steps after which an evaluation is cut, if it says none."
    ),
]
_LIST_HELP = "Show the recipes with their sizes and costs, and make nothing."


@app.command(
    epilog="Examples: `flowsweep data make pointmaze-umaze` · `flowsweep data make pointmaze-large --steps 1m` · "
    "`flowsweep data make cube-single-play --workers 8`"
)
def make(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="What to make; see `--list`.")
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="Environment steps, such as 20k or 1m.", show_default="100k")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random in it.")] = 0,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes. The data does not depend on it.", show_default="cores"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Minari id to use instead of the derived one.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Make it anew and replace what is there.")] = False,
    show: Annotated[bool, typer.Option("--list", help=_LIST_HELP)] = False,
    as_json: Json = False,
) -> None:
    """Make a dataset on this machine, from installed packages alone.

    Interrupted and called again, it goes on where it was. The same recipe, size and seed always give the same data.
    """
    if show:
        _show_recipes(as_json)
        return
    from ...trainables.data.makers import find_recipe, make_dataset

    if recipe is None:
        raise UserError("which one?", key="recipe", fix="`flowsweep data make --list` shows them.")
    chosen = find_recipe(recipe)
    wanted = None if steps is None else _steps(steps)
    with ProgressBar(f"making {recipe}", "steps") as bar:
        made = make_dataset(
            chosen.name, steps=wanted, seed=seed, workers=workers, force=force, name=name, progress=bar
        )
    _tell(made, as_json)


@app.command(
    "list",
    epilog="Examples: `flowsweep data list` · `flowsweep data list --recipes` · `flowsweep data list --json`",
)
def list_datasets(
    recipes: Annotated[bool, typer.Option("--recipes", help=_LIST_HELP)] = False,
    as_json: Json = False,
) -> None:
    """List the datasets on this machine, or what can be made."""
    if recipes:
        _show_recipes(as_json)
        return
    from ...trainables.data.catalogue import local_summaries

    found = local_summaries()
    if as_json:
        print_json(found)
    elif not found:
        console.print(
            "No dataset on this machine yet. `flowsweep data make pointmaze-umaze` makes one in seconds."
        )
    else:
        rows = [[row["id"], f"{row['steps']:,}", f"{row['episodes']:,}", gib(row["bytes"])] for row in found]
        console.print(grid(None, ["dataset", "steps", "episodes", "size"], rows, right={1, 2, 3}))


@app.command(
    epilog="Examples: `flowsweep data show flowsweep/pointmaze-umaze-v0` · "
    "`flowsweep data show flowsweep/cube-single-play-v0#task3 --json`"
)
def show(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Minari id, optionally with `#taskN`.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the flat files and compare their digests.")
    ] = False,
    variance: Annotated[
        bool, typer.Option(help="Estimate how much actions vary where states are alike (a second or two).")
    ] = True,
    as_json: Json = False,
) -> None:
    """Show what a learner would get: sizes, rewards, findings, and the environment it is scored in."""
    from ...trainables.data.catalogue import refuse_damage
    from ...trainables.data.flat import open_dataset

    opened = open_dataset(dataset)
    info = opened.info
    if verify:
        refuse_damage(dataset)
    varied, told = _action_variance(opened) if variance else (None, [])
    if as_json:
        print_json(info.model_dump(mode="json") | ({"action_variance": varied} if variance else {}))
        return
    evaluation = info.evaluation
    rows = [
        ["dataset", info.name],
        ["fingerprint", info.fingerprint[:16]],
        ["transitions", f"{info.transitions:,} in {info.episodes:,} episodes"],
        ["observation, action", f"{info.observation_dim}, {info.action_dim}"],
        ["rewards", f"{info.reward_min:g} to {info.reward_max:g}; {info.terminal_share:.2%} end the task"],
        [
            "scored in",
            f"{evaluation.id}, {evaluation.max_episode_steps} steps"
            if evaluation
            else f"nothing: {info.unscored}; name it with `flowsweep data attach-environment`",
        ],
    ]
    rows += told
    rows += [[finding.level, finding.text] for finding in info.findings]
    console.print(grid(None, ["", ""], rows))


def _action_variance(opened: FlatDataset) -> tuple[dict[str, Any] | None, list[list[str]]]:
    """How much actions vary, as plain JSON (None where the data are too few), and as rows of the table."""
    from ...trainables.data.action_variance import action_variance

    try:
        found = action_variance(opened)
    except UserError as error:
        return None, [["action variance", f"unknown: the dataset {error.problem}"]]
    margin = "" if found.std_error is None else f" ± {1.96 * found.std_error:.2g}"
    sparser = "" if found.sparser_mean is None else f"; {found.sparser_mean:.3g} from half of the episodes"
    low, high = 0.1 * found.mean, found.mean
    return found.model_dump(mode="json"), [
        ["action variance", f"{found.mean:.3g}{margin} per entry, where states are alike{sparser}"],
        ["of each entry", ", ".join(f"{value:.3g}" for value in found.per_dimension)],
        [
            "suggests",
            f"a trust-region radius (mean squared displacement per entry) of {low:.2g} (fine manipulation) to {high:.2g} "
            "(navigation)",
        ],
    ]


@app.command(
    "import",
    epilog="Examples: `flowsweep data import cube-single-play-v0` · "
    "`flowsweep data import cube-single-play-v0 --from-dir ~/ogbench` · `flowsweep data import D4RL/pointmaze/umaze-v2`",
)
def import_dataset(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="An OGBench dataset, one of its `.npz` files, or a Minari id."
        ),
    ],
    from_dir: Annotated[Path | None, typer.Option(help="Folder that holds OGBench's `.npz` files.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Mirror of OGBench's files.")] = None,
    name: Annotated[str | None, typer.Option(help="Minari id to use instead of `ogbench/...`.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a dataset of that name.")] = False,
    as_json: Json = False,
) -> None:
    """Bring in a published dataset: OGBench files become Minari datasets, Minari ids are downloaded."""
    from ...trainables.data.importers import fetch_ogbench, import_ogbench
    from ...trainables.data.names import parse_name
    from ...trainables.data.remote import fetch

    if dataset.endswith(".npz"):
        made = import_ogbench(Path(dataset).expanduser(), name=name, force=force)
    elif "/" in dataset:
        made = parse_name(dataset).minari_id
        fetch(made)
    else:
        with ProgressBar(f"downloading {dataset}", "bytes") as bar:
            file = fetch_ogbench(dataset, folder=from_dir, base_url=base_url, progress=bar)
        with console.status(f"writing {dataset} as a Minari dataset"):
            made = import_ogbench(file, name=name, force=force, url=base_url)
    _tell(made, as_json)


@app.command(
    "from-arrays",
    epilog="Examples: `flowsweep data from-arrays steps.npz --name mine/reach-v0 --environment Reacher-v5` · "
    "`flowsweep data from-arrays steps.parquet --name mine/plain-v0`",
)
def from_arrays(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An `.npz`, `.hdf5` or `.parquet` with a row per step.")
    ],
    name: Annotated[str, typer.Option("--name", help="Minari id it gets, such as `mine/reach-v0`.")],
    environment: Environment = None,
    max_episode_steps: MaxEpisodeSteps = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a dataset of that name.")] = False,
    as_json: Json = False,
) -> None:
    """Make a dataset of your own arrays: observations, actions, rewards, terminals and timeouts, a row per step."""
    from ...trainables.data.arrays import import_arrays

    made = import_arrays(
        file.expanduser(), name, environment=environment, max_episode_steps=max_episode_steps, force=force
    )
    _tell(made, as_json)


@app.command(
    "attach-environment",
    epilog="Examples: `flowsweep data attach-environment mine/reach-v0 Reacher-v5` · "
    "`flowsweep data attach-environment mine/maze-v0 PointMaze_UMaze-v3 --set continuing_task=false`",
)
def attach_environment(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="Minari id of a dataset on this machine.")
    ],
    environment: Annotated[
        str,
        typer.Argument(
            metavar="ENVIRONMENT", help="Id of an environment that an installed package registers."
        ),
    ],
    max_episode_steps: MaxEpisodeSteps = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", help="Argument of its constructor, as key=value in JSON.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Name the environment that policies learnt from a dataset are scored in; refused where it does not fit the data.

    For datasets that name none, one that is not installed, or one without a limit of steps.
    """
    from ...trainables.envs.naming import attach_environment as attach

    arguments = {key: _json_value(value) for key, value in settings(given or []).items()}
    spec, seen = attach(dataset, environment, max_episode_steps=max_episode_steps, arguments=arguments)
    if as_json:
        print_json(
            {"dataset": dataset, "evaluation": spec.model_dump(mode="json"), "warnings": seen.warnings}
        )
        return
    reports = "return and success" if seen.speaks_of_success else "return, and never success"
    console.print(
        f"Policies of {dataset} are scored in {spec.id}, {spec.max_episode_steps:,} steps; it reports {reports}."
    )
    for warning in seen.warnings:
        console.print(f"note: {warning}")


def _json_value(text: str) -> Any:
    """A value as JSON has it, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _tell(made: str, as_json: bool) -> None:
    if as_json:
        print_json({"dataset": made})
    else:
        console.print(
            styled(
                (made, "bold"),
                f" is ready. In a sweep: `dataset: {made}`. Details: `flowsweep data show {made}`.",
            )
        )


def _show_recipes(as_json: bool) -> None:
    from ...trainables.data.makers import RECIPES, dataset_id

    facts = [
        {
            "recipe": recipe.name,
            "dataset": dataset_id(recipe),
            "steps": recipe.default_steps,
            "cpu_s": round(recipe.default_steps / recipe.steps_per_cpu_s),
            "bytes": round(recipe.default_steps * recipe.bytes_per_step),
            "what": recipe.summary,
        }
        for recipe in RECIPES.values()
    ]
    if as_json:
        print_json(facts)
        return
    rows = [
        [fact["recipe"], f"{fact['steps']:,}", f"{fact['cpu_s']} s", gib(fact["bytes"]), fact["what"]]
        for fact in facts
    ]
    console.print(grid(None, ["recipe", "steps", "one core", "size", "what"], rows, right={1, 2, 3}))


def _steps(text: str) -> int:
    factors = {"k": 1_000, "m": 1_000_000}
    number, factor = (text[:-1], factors[text[-1].lower()]) if text[-1:].lower() in factors else (text, 1)
    try:
        steps = float(number) * factor
    except ValueError:
        steps = float("nan")
    if not steps.is_integer():
        raise UserError(
            "must be a whole number of steps", key="--steps", value=text, fix="Examples: 20000, 20k, 1m."
        )
    return int(steps)
