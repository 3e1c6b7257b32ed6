"""Faults on purpose: a small sweep is disturbed in one way after another, and held against one that was left alone."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import UserError, nearest
from ..paths import Home
from ..tracking.tracker import tracker_status
from . import damage as drill_damage
from . import faults as drill_faults
from . import nodes as drill_nodes
from .checks import Account, account, lost, study_differs
from .rig import PATIENCE_S, SWEEP, Broken, Missed, Rig, Skipped
from .tracker import tracker_differs

ATTEMPTS = 3
"""Times a fault is tried that comes too late or too early."""
CALM = "in-trials"


@dataclass(frozen=True)
class Fault:
    """One thing that can go wrong.

    Attributes:
        strike: brings it about and lets the sweep end; says what of ``holds`` did not.
        does: what is done, in words.
        holds: what is checked beside that nothing is lost.
    """

    name: str
    strike: Callable[[Rig, random.Random], list[str]]
    does: str
    holds: str


@dataclass(frozen=True)
class Verdict:
    """What came of one fault.

    Attributes:
        verdict: ``missed``: the fault could not be brought about in time; it counts as not held.
        wrong: everything that did not hold, or why it was skipped or missed.
        seconds: it took, attempts included.
        kills: drivers killed on the way.
    """

    name: str
    does: str
    holds: str
    verdict: Literal["held", "not held", "missed", "skipped"]
    wrong: tuple[str, ...]
    seconds: float
    kills: int = 0


FAULTS = (
    Fault(CALM, drill_faults.nothing, "a loss turns NaN; two seeds at once run out of memory",
          "one ends as diverged, the other goes on one seed at a time"),
    Fault("driver-killed", drill_faults.drivers_killed, "SIGKILL to the driver at three random moments, then resume",
          "after every kill the record is whole"),
    Fault("driver-told", drill_faults.told_to_leave, "SIGTERM to the driver, then resume",
          "it leaves within 10 s; no trial counts as failed"),
    Fault("two-drivers", drill_faults.two_drivers, "`run` and `resume` while the sweep runs",
          "exit code 3 and who is running it; the first goes on"),
    Fault("worker-pretrain", drill_faults.worker_in_pretrain, "SIGKILL to the only worker, in a shared stage",
          "taken up again by itself"),
    Fault("worker-holder", drill_faults.holder_killed, "SIGKILL to the worker whose output another waits for",
          "its claim is taken over"),
    Fault("worker-publish", drill_faults.worker_in_publish, "SIGKILL to a worker that writes into the store",
          "no half output is ever seen"),
    Fault("worker-refine", drill_faults.worker_in_refine, "SIGKILL to a worker, in a trial's own stage",
          "taken up again by itself"),
    Fault("node-killed", drill_nodes.nodes_killed,
          "SIGKILL to whole nodes, in pretrain, publish and refine",
          "each loss on record; taken up again elsewhere"),
    Fault("tracker-down", drill_faults.tracker_down, "the MLflow server is dead for the whole sweep, then back",
          "`sync` sends everything once"),
    Fault("databases-locked", drill_damage.databases_locked, "both SQLite files held locked for 12 s",
          "the sweep goes on meanwhile"),
    Fault("disk-full", drill_damage.disk_full, "the home's filesystem filled up, room made, then resume",
          "the driver says why it ends; the record is whole"),
    Fault("checkpoint-damaged", drill_damage.checkpoint_damaged, "one byte of the newest checkpoints changed",
          "passed over, and on record"),
    Fault("output-damaged", drill_damage.output_damaged, "one byte of every stored stage output changed",
          "set aside, computed again, and on record"),
    Fault("journal-torn", drill_damage.journal_torn, "half a line at the end of the record",
          "dropped, and on record"),
    Fault("clock-back", drill_damage.clock_set_back, "the clock of our processes set back by an hour",
          "nothing hangs, over a restart too"),
)  # fmt: skip


def chosen(names: Sequence[str] = ()) -> tuple[Fault, ...]:
    """The faults of these names, in our order; all when none is named. The calm one is always first.

    Raises:
        UserError: there is no such fault.
    """
    known = {fault.name: fault for fault in FAULTS}
    for name in names:
        if name not in known:
            raise UserError("no such fault", key="--only", value=name, fix=nearest(name, known))
    return tuple(fault for fault in FAULTS if not names or fault.name in (CALM, *names))


def drill(
    faults: Sequence[Fault],
    folder: Path,
    address: str | None = None,
    say: Callable[[str], None] = lambda doing: None,
    seed: int = 0,
    patience_s: float = PATIENCE_S,
) -> Iterator[Verdict]:
    """Bring the faults about, one after the other.

    Args:
        faults: of :func:`chosen`.
        folder: where to work; on a cluster, one that all nodes share.
        address: Ray cluster to run on.
        say: told what is being done.
        seed: of the random moments.
        patience_s: how long anything may take that is waited for.
    """
    with tempfile.TemporaryDirectory(prefix="drill-", dir=folder, ignore_cleanup_errors=True) as root:
        undisturbed = None
        for fault in faults:
            verdict, found = perform(fault, Path(root), undisturbed, address, say, seed, patience_s)
            undisturbed = undisturbed or found
            yield verdict
            if undisturbed is None:
                return  # there is nothing to hold the others against


def perform(
    fault: Fault,
    root: Path,
    undisturbed: Account | None,
    address: str | None = None,
    say: Callable[[str], None] = lambda doing: None,
    seed: int = 0,
    patience_s: float = PATIENCE_S,
) -> tuple[Verdict, Account | None]:
    """Bring one fault about, again where it came too late.

    Args:
        root: works in a new folder in there.
        undisturbed: what to hold the sweep against; itself, when there is nothing yet.

    Returns:
        The verdict, and what the sweep's record amounts to, where it held.
    """
    began_s, why = time.monotonic(), ""
    for attempt in range(ATTEMPTS):
        place = root / f"{fault.name}-{attempt}"
        rng = random.Random(f"{fault.name} {seed} {attempt}")
        say(f"{fault.name}: {fault.does}" + (f" (again: {why})" if why else ""))

        def check(paths, whole: bool = False) -> list[str]:
            return lost(paths, undisturbed, whole=whole) if undisturbed else []

        with Rig(place, address, lambda doing: say(f"{fault.name}: {doing}"), check, patience_s) as rig:
            try:
                wrong = [*fault.strike(rig, rng), *differences(rig, undisturbed)]
            except Skipped as reason:
                return _verdict(fault, "skipped", [str(reason)], began_s), None
            except Broken as reason:
                wrong = [str(reason), *rig.check()]
                return _verdict(fault, "not held", wrong, began_s, rig.killed), None
            except Missed as reason:
                why = str(reason)
                continue
            except Exception as error:  # a record that cannot even be looked at has not held
                lines = str(error).strip().splitlines() or [""]
                wrong = [f"{type(error).__name__}: {lines[0]}"]
                return _verdict(fault, "not held", wrong, began_s, rig.killed), None
            found = None if wrong else account(rig.paths)
            verdict = _verdict(fault, "not held" if wrong else "held", wrong, began_s, rig.killed)
            return verdict, found
    return _verdict(fault, "missed", [why], began_s), None


def differences(rig: Rig, undisturbed: Account | None) -> list[str]:
    """What is wrong with a sweep that has come to its end: its journal, its study, its tracker."""
    rig.say("checking")
    if tracker_status(rig.paths).unsent:
        rig.call("sync", SWEEP)
    left = tracker_status(rig.paths).unsent
    return [
        *([f"{left} events were never sent to the tracker"] if left else []),
        *lost(rig.paths, undisturbed or account(rig.paths)),
        *study_differs(rig.paths),
        *tracker_differs(rig.paths, rig.tracker),
    ]


def default_folder() -> Path:
    """Where drills work: in the home, whose filesystem sweeps will use."""
    Home.default().root.mkdir(parents=True, exist_ok=True)
    return Home.default().root


def _verdict(fault: Fault, verdict, wrong: list[str], began_s: float, kills: int = 0) -> Verdict:
    seconds = time.monotonic() - began_s
    return Verdict(fault.name, fault.does, fault.holds, verdict, tuple(wrong), seconds, kills)
