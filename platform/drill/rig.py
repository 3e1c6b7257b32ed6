"""A home of its own, the drivers started over it, and what is done to them. Ends all that it started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import psutil

from ...trainables.events import Event
from ..errors import UserError
from ..journal.events import Entry
from ..journal.journal import read
from ..paths import Home, SweepPaths
from ..sweep.spec import sweep_file

SWEEP = "drill"
PATIENCE_S = 300.0
"""How long anything may take that is waited for. Ray alone needs half a minute on a busy machine."""
POLL_S = 0.002


class Missed(Exception):
    """The fault could not be brought about: what it waits for did not come, or was over too soon."""


class Broken(Exception):
    """A command did not end as it must have; the message says how it did."""


def failed(why: str) -> Exception:
    """What a command that failed amounts to: a machine too busy for Ray to start is no fault of the sweep."""
    return (Missed if "Ray did not start in time" in why else Broken)(why)


class Skipped(Exception):
    """The fault cannot be brought about here; the message says why."""


def unless(held: object, wrong: str) -> list[str]:
    """``wrong`` as a finding, unless something held."""
    return [] if held else [wrong]


E = TypeVar("E", bound=Event)


class Rig:
    """One sweep under one fault.

    Args:
        root: a folder that does not exist yet; holds the home and what the commands print.
        address: Ray cluster to run on; an embedded Ray when None.
        say: told what is being done.
        check: what is wrong with the sweep's record as far as it goes.
        patience_s: how long anything may take that is waited for.

    Attributes:
        tracker: MLflow's address for this sweep.
        mounted: whether the home is a filesystem of its own.
        killed: drivers killed so far.
    """

    def __init__(
        self,
        root: Path,
        address: str | None = None,
        say: Callable[[str], None] = lambda doing: None,
        check: Callable[[SweepPaths], list[str]] = lambda paths: [],
        patience_s: float = PATIENCE_S,
    ):
        self.root, self.address, self.say = root, address, say
        self._check, self.patience_s = check, patience_s
        self.home = Home(root / "home")
        self.home.root.mkdir(parents=True)
        self.paths: SweepPaths = self.home.sweep(SWEEP)
        self.environment = {"FLOWSWEEP_HOME": str(self.home.root), "MLFLOW_DISABLE_TELEMETRY": "true"}
        self._started: dict[int, psutil.Process] = {}
        self._logs = 0
        self.tracker, self.mounted, self.killed = self.home.mlflow_uri, False, 0

    def check(self) -> list[str]:
        """What is wrong with the record by now; nothing before there is one."""
        return self._check(self.paths) if self.journal_bytes() else []

    def run(self, **settings: object) -> subprocess.Popen[bytes]:
        """Start the sweep, with settings changed: dotted keys, ``__`` for each dot."""
        changes = [f"--set={key.replace('__', '.')}={value}" for key, value in settings.items()]
        return self.launch("run", str(sweep_file(SWEEP)), *changes, *self.where)

    def resume(self) -> subprocess.Popen[bytes]:
        """Go on with it."""
        return self.launch("resume", SWEEP, *self.where)

    @property
    def where(self) -> list[str]:
        """Options that say where sweeps run."""
        return ["--address", self.address] if self.address else []

    def launch(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a flowsweep command; what it prints goes to a file of its own."""
        return self.start([sys.executable, "-P", "-m", "flowsweep.platform.cli", *arguments], environment)

    def start(
        self, command: list[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start any process."""
        self._logs += 1
        with open(self.root / f"{self._logs:03d}.log", "wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **self.environment, **(environment or {})},
            )
        self._remember(process.pid)
        return process

    def call(self, *arguments: str) -> tuple[int, str]:
        """Run a flowsweep command to its end: exit code and what it printed."""
        code = self.ended(self.launch(*arguments))
        return code, self.said()

    def said(self) -> str:
        """What the newest command has printed."""
        return (self.root / f"{self._logs:03d}.log").read_text(errors="replace")

    def ended(self, process: subprocess.Popen[bytes], code: int | None = None) -> int:
        """Wait for a process to end.

        Raises:
            Broken: it does not, or with another exit code than ``code``.
        """
        try:
            found = process.wait(self.patience_s)
        except subprocess.TimeoutExpired:
            raise Broken(
                f"a command did not end within {self.patience_s:.0f} s: {self._last_line()}"
            ) from None
        if code is not None and found != code:
            raise failed(f"a command ended with {found}, not {code}: {self._last_line()}")
        return found

    def _last_line(self) -> str:
        lines = [line.strip() for line in self.said().splitlines() if line.strip()]
        return lines[-1][:200] if lines else "it printed nothing"

    def entries(self, *kinds: type[Event]) -> list[Entry]:
        """Return what is on record, of some kinds or of all."""
        if not self.paths.journal.exists():
            return []
        return [e for e in read(self.paths.journal) if not kinds or isinstance(e.event, kinds)]

    def events(self, kind: type[E]) -> list[E]:
        """Return the events of one kind on record."""
        return [entry.event for entry in self.entries(kind) if isinstance(entry.event, kind)]

    def journal_bytes(self) -> int:
        """The size of the record."""
        return self.paths.journal.stat().st_size if self.paths.journal.exists() else 0

    def until(
        self, condition: Callable[[], object], what: str, process: subprocess.Popen | None = None
    ) -> None:
        """Wait for a condition, looking often.

        Raises:
            Missed: it does not come, or ``process`` comes to its end before.
            Broken: ``process`` fails before.
        """
        deadline_s = time.monotonic() + self.patience_s
        while not condition():
            if process is not None and process.poll() is not None:
                how = f"a process ended with {process.returncode} before {what}: {self._last_line()}"
                raise failed(how) if process.returncode else Missed(how)
            if time.monotonic() > deadline_s:
                raise Missed(f"waited {self.patience_s:.0f} s for {what}")
            time.sleep(POLL_S)

    def until_events(
        self, process: subprocess.Popen, count: int, *kinds: type[Event], **fields: object
    ) -> None:
        """Wait until so many events of some kinds are on record, with these values in their fields."""
        seen = -1

        def there() -> bool:
            nonlocal seen
            if self.journal_bytes() == seen:
                return False
            seen = self.journal_bytes()
            found = [
                entry
                for entry in self.entries(*kinds)
                if all(getattr(entry.event, key, None) == value for key, value in fields.items())
            ]
            return len(found) >= count

        self.until(there, f"{count} events of {', '.join(kind.__name__ for kind in kinds)}", process)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL a process and nothing else; its children are remembered and ended at the end."""
        self._remember(process.pid)
        process.kill()
        process.wait()

    def kill_tree(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL a process and all it has started, as a machine does that loses power."""
        mine = self._remember(process.pid)
        for each in mine:
            with contextlib.suppress(psutil.Error):
                each.kill()
        process.wait()
        psutil.wait_procs(mine, 10)

    def kill_worker(self, pid: int, node: str | None = None) -> None:
        """SIGKILL a Ray worker of ours, here or on another node of the cluster."""
        self.say(f"killing worker {pid}")
        if node is None or node == os.uname().nodename:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        elif self.ended(
            self.start([sys.executable, "-P", "-m", __spec__.name, str(self.address), node, str(pid)])
        ):
            raise Missed(f"process {pid} on {node} could not be killed: {self._last_line()}")

    def _remember(self, pid: int) -> list[psutil.Process]:
        try:
            root = psutil.Process(pid)
            found = [root, *root.children(recursive=True)]
        except psutil.Error:
            return []
        self._started.update((process.pid, process) for process in found)
        return found

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is left of all that was started, and delete the folder."""
        for pid in list(self._started):
            self._remember(pid)
        left = [process for process in self._started.values() if process.is_running()]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()  # psutil looks whether it is still the process it was
        psutil.wait_procs(left, 10)
        if self.mounted:
            subprocess.run(["umount", "--lazy", self.home.root], check=False)
        shutil.rmtree(self.root, ignore_errors=True)


def kill_elsewhere(address: str, node: str, pid: int) -> None:
    """Kill a process of ours on another node of a Ray cluster.

    Raises:
        UserError: there is no such node.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.init(address=address, log_to_driver=False)
    found = [one["NodeID"] for one in ray.nodes() if one["Alive"] and one["NodeManagerHostname"] == node]
    if not found:
        raise UserError("the cluster has no such node", key="node", value=node)
    there = NodeAffinitySchedulingStrategy(found[0], soft=False)

    def kill() -> None:
        os.kill(pid, signal.SIGKILL)

    ray.get(ray.remote(kill).options(num_cpus=0, scheduling_strategy=there).remote())


if __name__ == "__main__":
    kill_elsewhere(sys.argv[1], sys.argv[2], int(sys.argv[3]))
