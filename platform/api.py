"""The same as the command line, from Python: run, plan, load and resume sweeps, and read what came out as data frames.

These are the names that ``import flowsweep`` offers. A call does what the command of its name does, says what is wrong by
raising the same errors, and writes the same record; either can go on with what the other began.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..trainables.config import parse
from ..trainables.user_code.code import label_of, names_code, short_name
from .errors import Refused, UserError
from .going_on.named_code import name_recorded_code
from .going_on.taking_up import Going
from .paths import Home, SweepPaths
from .record.results import best as best_row
from .record.results import leaderboard, list_sweeps, read_sweep, tables
from .sweep.plan import Plan, make_plan
from .sweep.spec import SweepSpec, load_spec, read_spec, with_code
from .sweep.yaml_file import overridden

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from .rerun import Verdict

SweepLike = str | Path | Mapping[str, Any] | SweepSpec
"""A sweep file or the name of a shipped sweep; what such a file says, as a mapping; or the same typed."""


@dataclass(frozen=True)
class Best:
    """The best trial of a sweep, judged by its confirmation where there is one.

    Attributes:
        trial: its name.
        params: what was searched, by ``stage.field``.
        value, low, high: the objective and its 95 % interval; infinite where one value knows none.
        confirmed_by: the trial on the test seeds that the value is of; None where it is the search's own.
        seeds: those the value is of.
        config: the full configuration, by stage.
    """

    trial: str
    params: Mapping[str, Any]
    value: float
    low: float | None
    high: float | None
    confirmed_by: str | None
    seeds: tuple[int, ...]
    config: Mapping[str, Any]


class Sweep:
    """A sweep on record: finished, under way, or stopped. Everything is read anew when it is asked for.

    Args:
        name: of the sweep.
        home: where it is kept; ``$FLOWSWEEP_HOME`` or ``~/.flowsweep`` when not given.

    Raises:
        UserError: there is none of that name.
    """

    def __init__(self, name: str, home: str | Path | None = None):
        self._home = _home(home)
        self.paths: SweepPaths = self._home.sweep(name)
        if not self.paths.journal.exists():
            raise UserError(
                "there is no sweep of this name", key="name", value=name,
                fix="`flowsweep.sweeps()` shows those there are.",
            )  # fmt: skip

    @property
    def name(self) -> str:
        """Its name."""
        return self.paths.name

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``interrupted``, or how else it stands."""
        return read_sweep(self.paths).status

    @property
    def spec(self) -> SweepSpec:
        """The sweep file it was run with, every default written out."""
        return read_spec(self.paths.spec)

    @property
    def best(self) -> Best | None:
        """The best trial; None while none has finished."""
        record = read_sweep(self.paths)
        row = best_row(record)
        if row is None:
            return None
        return Best(
            trial=row.confirms or row.trial, params=dict(row.params), value=row.score.mean, low=row.score.low,
            high=row.score.high, confirmed_by=row.trial if row.confirms else None, seeds=tuple(row.seeds),
            config=dict(record.trials[row.trial].configs),
        )  # fmt: skip

    def leaderboard(self, metric: str | None = None) -> pd.DataFrame:
        """Scored trials, best first: confirmations and baselines, then the search.

        Args:
            metric: ``stage/metric`` to rank by; the objective when not given.
        """
        import pandas as pd

        rows = [
            {
                "trial": row.trial, "phase": row.phase, "rank": row.rank, "value": row.score.mean,
                "low": row.score.low, "high": row.score.high, "status": row.status, "step": row.step,
                "seeds": list(row.seeds), **dict(row.params),
            }
            for row in leaderboard(read_sweep(self.paths), metric)
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def trials(self) -> pd.DataFrame:
        """One row per trial: how it ended, what it scored and cost, a column per searched parameter."""
        return self._table("trials")

    def curves(self, metric: str | None = None) -> pd.DataFrame:
        """One row per trial, stage, step, seed and metric.

        Args:
            metric: ``stage/metric`` or a bare name; all when not given.
        """
        frame = self._table("curves")
        if metric is None:
            return frame
        stage, slash, bare = metric.rpartition("/")
        chosen = frame["metric"] == bare
        if slash:
            chosen &= frame["stage"] == stage
        return frame.loc[chosen].reset_index(drop=True)

    def episodes(self) -> pd.DataFrame:
        """One row per evaluation episode and value."""
        return self._table("episodes")

    def stages(self) -> pd.DataFrame:
        """One row per shared stage output that a trial computed or reused."""
        return self._table("stages")

    def _table(self, name: str) -> pd.DataFrame:
        return tables(read_sweep(self.paths))[name].to_pandas()

    @property
    def study(self) -> optuna.Study:
        """Its Optuna study, for Optuna's own plots and analyses. Look, but add no trials to it."""
        import optuna

        from .going_on.renewal import current_study
        from .search.storages import open_storage, study_name

        setting = self.spec.search.storage
        name = current_study(study_name(setting, self.paths), read_sweep(self.paths, keep_reports=False))
        return optuna.load_study(study_name=name, storage=open_storage(setting, self.paths))

    def policy(self, trial: str = "best", device: str = "cpu") -> Any:
        """What a trial has learnt.

        Of a training function what it returned (of several seeds a list); of another system its policy, with one lane per
        seed.

        Args:
            trial: its name, or ``best``.

        Raises:
            UserError: it left none, or the system's outputs are no policies.
        """
        from ..trainables.exported import load_outputs, load_policy

        with tempfile.TemporaryDirectory(prefix="flowsweep-policy-") as scratch:
            folder = Path(scratch) / "export"
            self.export(folder, trial)
            if names_code(self.spec.system):
                with suppress(UserError):  # a file may also hold a system with policies
                    found = load_outputs(folder)
                    return found[0] if len(found) == 1 else found
                name_recorded_code(self.paths)

            return load_policy(folder, device)

    def export(self, folder: str | Path, trial: str = "best") -> Path:
        """Write a trial out: policies, configuration, metrics, where it comes from. Returns the folder."""
        from .export import export

        return export(self.paths, self._home, Path(folder), trial).folder

    def rerun(self, trial: str = "best", *, anyway: bool = False, code: str | None = None) -> Verdict:
        """Train a trial again here and say whether it was reproduced.

        Args:
            anyway: although the user's own code has changed since.
            code: where that code lies now.
        """
        from .rerun import rerun

        name_recorded_code(self.paths, code)
        return rerun(self.paths, self._home, trial, anyway=anyway)

    @property
    def report(self) -> Path:
        """The report page; it is written when the sweep ends."""
        return self.paths.report

    def __repr__(self) -> str:
        return f"<Sweep {self.name}: {self.status}>"

    def _repr_html_(self) -> str:
        record = read_sweep(self.paths)
        spec = record.spec
        goal, top = spec.get("objective", {}), self.best
        lines = [
            f"<b>{escape(self.name)}</b> · {escape(record.status)} · {escape(label_of(spec.get('system', '')))} · "
            f"{escape(goal.get('direction', ''))} {escape(goal.get('metric', ''))}"
        ]
        if top:
            settings = ", ".join(f"{key} = {_short(value)}" for key, value in top.params.items())
            where = (
                f"confirmed on seeds {list(top.seeds)}" if top.confirmed_by else f"on seeds {list(top.seeds)}"
            )
            lines.append(
                f"best: <b>{escape(top.trial)}</b> {_short(top.value)} ({escape(where)}); {escape(settings)}"
            )
        frame = self.leaderboard()
        table = frame.to_html(index=False, max_rows=20, float_format=_short, border=0) if len(frame) else ""
        return f"<div>{'<br>'.join(lines)}{table}</div>"


def plan(
    sweep: SweepLike,
    changes: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    home: str | Path | None = None,
) -> Plan:
    """Check a sweep and count what it would do. Starts nothing.

    Args:
        sweep: a file, a shipped sweep's name, a mapping, or a :class:`SweepSpec`.
        changes: dotted key to another value (``{"search.trials": 4}``).
        name: another name for it.
        home: where it would be kept.

    Raises:
        UserError, UserErrors: what cannot work, every mistake named.
    """
    return make_plan(_spec(sweep, changes, name), _home(home))


def run(
    sweep: SweepLike,
    changes: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    home: str | Path | None = None,
    address: str | None = None,
    progress: bool = True,
    if_exists: Literal["refuse", "resume", "load"] = "refuse",
) -> Sweep:
    """Run a sweep to its end, here or on the Ray cluster of this machine. Ctrl-C stores everything and stops.

    Args:
        sweep, changes, name, home: as of :func:`plan`.
        address: Ray address (``auto`` on a node of a cluster); an embedded Ray when not given.
        progress: show the live table.
        if_exists: what to do where a sweep of that name is on record: refuse, go on with it, or return it as it is. A cell
            of a notebook that is run twice wants one of the last two.

    Raises:
        UserError, Refused, Unreachable: as the command says them.
    """
    spec, where = _spec(sweep, changes, name), _home(home)
    if where.sweep(spec.name).journal.exists() and if_exists != "refuse":
        if if_exists == "load":
            return Sweep(spec.name, where.root)
        return _carry_out(
            make_plan(spec, where, elsewhere=address is not None),
            where,
            address,
            progress,
            Going(resume=True),
        )
    made = make_plan(spec, where, elsewhere=address is not None)
    return _carry_out(made, where, address, progress, Going())


def load(name: str, home: str | Path | None = None) -> Sweep:
    """A sweep on record.

    Raises:
        UserError: there is none of that name.
    """
    return Sweep(name, home)


def resume(
    name: str,
    changes: Mapping[str, Any] | None = None,
    *,
    home: str | Path | None = None,
    address: str | None = None,
    progress: bool = True,
    anyway: bool = False,
    code: str | None = None,
) -> Sweep:
    """Go on with a sweep that was stopped or died, or take a finished one further.

    Args:
        changes: what to take further (``{"search.trials": 32}``), as ``flowsweep extend`` allows it.
        anyway: although its data or code have changed; that is put on record.
        code: where the user's own code that it runs lies now, if it was moved: ``PATH.py:NAME``.

    Raises:
        UserError, Refused, Unreachable: as the command says them.
    """
    from .going_on.extension import checked_extension

    where = _home(home)
    paths = where.sweep(name)
    if not paths.spec.exists():
        raise UserError("there is no sweep of this name", key="name", value=name)
    name_recorded_code(paths, code)
    texts = _texts(changes)
    if texts:
        checked_extension(texts, paths)
    made = make_plan(read_spec(paths.spec, texts), where, elsewhere=address is not None)
    return _carry_out(made, where, address, progress, Going(resume=True, anyway=anyway))


def trainable(
    system: str, *, home: str | Path | None = None, stages: str | None = None, **asked: Any
) -> type:
    """A system as a plain Ray Tune trainable, for one's own Tuner, searcher and scheduler.

    As :func:`flowsweep.trainables.tune.trainable`, whose other arguments it takes; outputs of earlier stages are shared
    between trials, and with the sweeps of this home.

    Args:
        stages: another stage store: a folder, ``s3://...`` or ``gs://...``.
    """
    from ..trainables.plain_tune import trainable as made
    from .store.opening import open_store

    return made(system, store=open_store(_home(home), stages), **asked)


def sweeps(home: str | Path | None = None) -> pd.DataFrame:
    """Every sweep on record: status, system, trials, best value."""
    import pandas as pd

    found = list_sweeps(_home(home))
    columns = ("name", "status", "system", "metric", "best", "trials", "started", "ended", "note")
    return pd.DataFrame([{key: getattr(one, key) for key in columns} for one in found], columns=list(columns))


def _carry_out(made: Plan, home: Home, address: str | None, progress: bool, going: Going) -> Sweep:
    from rich import get_console

    from ..cluster.joining import check_joining
    from .driver import run_sweep
    from .journal.journal import read
    from .running.live import LiveView

    check_joining(address)
    journal = home.sweep(made.spec.name).journal
    with LiveView(made, get_console(), not progress, read(journal) if going.resume else ()) as view:
        run_sweep(made, home, address=address, going=going, watch=view)
    return Sweep(made.spec.name, home.root)


def _spec(sweep: SweepLike, changes: Mapping[str, Any] | None, name: str | None) -> SweepSpec:
    texts = {**_texts(changes), **({"name": json.dumps(name)} if name else {})}
    if isinstance(sweep, str | Path):
        return load_spec(sweep, texts)
    if isinstance(sweep, SweepSpec):
        sweep = sweep.model_dump(mode="json", exclude_unset=True)
    elif not isinstance(sweep, Mapping):
        raise Refused("is neither a file, a mapping nor a SweepSpec", key="sweep", value=sweep)
    system = sweep.get("system")
    default = {"name": short_name(system)} if isinstance(system, str) else {}
    return with_code(parse(SweepSpec, overridden({**default, **sweep}, texts)), Path.cwd())


def _texts(changes: Mapping[str, Any] | None) -> dict[str, str]:
    """Changes in YAML notation, as the command line has them."""
    return {key: json.dumps(value) for key, value in (changes or {}).items()}


def _home(home: str | Path | None) -> Home:
    return Home.default() if home is None else Home(Path(home).expanduser())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
