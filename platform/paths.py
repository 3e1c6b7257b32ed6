"""Every place on disk, from one object, with names that cannot leave their root."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..trainables.home import home
from .errors import UserError

NAME_RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def checked_name(name: str, key: str = "name") -> str:
    """A sweep name fit to be a directory.

    Raises:
        UserError: it holds a separator, starts with a dot, is too long or is otherwise unfit.
    """
    if not isinstance(name, str) or not NAME_RULE.fullmatch(name) or ".." in name:
        raise UserError(
            "must be 1 to 80 letters, digits, '.', '_' or '-', starting with a letter or digit, without '..'",
            key=key,
            value=name,
            fix="Choose a plain name such as `pointmaze-large-1`.",
        )
    return name


@dataclass(frozen=True)
class Home:
    """The root under which everything lives (``$FLOWSWEEP_HOME``, else ``~/.flowsweep``)."""

    root: Path

    @classmethod
    def default(cls) -> Home:
        """The home of this user on this machine."""
        return cls(home())

    @property
    def stages(self) -> Path:
        """The stage store, shared by all sweeps."""
        return self.root / "stages"

    @property
    def sweeps(self) -> Path:
        """One folder per sweep."""
        return self.root / "sweeps"

    @property
    def mlflow_uri(self) -> str:
        """The embedded tracking store."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        """Artifacts of the embedded tracking store."""
        return self.root / "mlflow-artifacts"

    def sweep(self, name: str) -> SweepPaths:
        """The paths of one sweep, whether or not it exists."""
        return SweepPaths(self.sweeps / checked_name(name))


@dataclass(frozen=True)
class SweepPaths:
    """Where one sweep keeps its files."""

    root: Path

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.root.name

    @property
    def spec(self) -> Path:
        """The sweep file as it was run."""
        return self.root / "sweep.yaml"

    @property
    def journal(self) -> Path:
        """The append-only record, the truth."""
        return self.root / "journal.jsonl"

    @property
    def study(self) -> str:
        """Optuna's storage URL."""
        return f"sqlite:///{self.root / 'optuna.db'}"

    @property
    def tracking(self) -> Path:
        """The tracker's persisted position and run ids."""
        return self.root / "tracking.json"

    @property
    def trials(self) -> Path:
        """One folder per trial: checkpoints, final outputs, pictures."""
        return self.root / "trials"

    @property
    def stop_request(self) -> Path:
        """Its presence asks every trial to checkpoint and leave."""
        return self.root / "stop"

    @property
    def wishes(self) -> Path:
        """What a person has asked for while it runs: how many trials at once, and its priority."""
        return self.root / "wishes.jsonl"

    @property
    def results(self) -> Path:
        """Parquet tables."""
        return self.root / "results"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.root / "report.html"

    @property
    def ray(self) -> Path:
        """Ray Tune's own files; nothing in them is needed later."""
        return self.root / "ray"
