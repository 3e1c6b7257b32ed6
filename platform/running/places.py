"""How many trials may run now: as many as fit the cluster as it is, or the sweep's share where others run as well."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...trainables.leaving import LEAVE
from ..errors import UserError
from ..paths import Home
from ..sweep.plan import Plan, concurrent_trials
from ..sweep.room import Node, trials_that_fit
from ..sweep.spec import Resources
from ..sweep.workers import demand_of, nodes, reserve_of, trials_at_once
from .sharing import Board, Claim, Wishes, allot, board_folder

LOOK_S = 2.0


@dataclass(frozen=True)
class Count:
    """How many trials may run.

    Attributes:
        trials: so many.
        fit: so many would fit the cluster, nothing else running there.
        reason: what it comes from, in words.
    """

    trials: int
    fit: int
    reason: str


class Places:
    """Looks at the cluster every few seconds, and says how many trials may run.

    Args:
        trials: the folder that holds one folder per trial.
        board: where other sweeps of this cluster are seen; None where there are none.
        wishes: what a person wants while it runs.
        tell: given every change, from the thread that asks.
        look: what nodes there are.
    """

    def __init__(
        self,
        resources: Resources,
        sweep: str,
        trials: Path,
        board: Board | None,
        wishes: Wishes,
        tell: Callable[[Count], None],
        look: Callable[[], Sequence[Node]] = nodes,
    ):
        self._resources, self._sweep, self._trials = resources, sweep, trials
        self._board, self._wishes, self._tell, self._look = board, wishes, tell, look
        self._since, self._wanted = time.time(), None
        self._told: Count | None = None
        self._seen: tuple[Sequence[Node], int] | None = None
        self._leaving: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, name="places", daemon=True)
        self._count = self._looked()

    def __enter__(self) -> Places:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._board:
            self._board.withdraw()

    def now(self) -> int:
        """How many trials may run."""
        count = self._count
        if count != self._told:
            self._told = count
            self._tell(count)
        return count.trials

    def cores(self) -> int:
        """How many cores the cluster has, one at least; it may have grown since the sweep was started."""
        found = self._seen[0] if self._seen else ()
        return max(1, int(sum(node.resources.get("CPU", 0) for node in found)))

    def need(self, trials: int | None) -> None:
        """So many are left to run; None while more may come."""
        self._wanted = trials

    def crowded(self, running: Mapping[str, None]) -> None:
        """Ask the newest trials to store their state and leave, where more run than may.

        Args:
            running: trials that have a worker, the newest last.
        """
        over = len(running) - len(self._leaving) - self.now()
        if over <= 0:
            return
        for trial in reversed(list(running)):
            if over <= 0:
                return
            if trial not in self._leaving:
                self._leaving.add(trial)
                with contextlib.suppress(OSError):
                    (self.folder_of(trial) / LEAVE).touch()
                over -= 1

    def folder_of(self, trial: str) -> Path:
        """Where a trial keeps its files."""
        return self._trials / trial

    def made_room(self, trial: str) -> bool:
        """Whether a trial that has left was asked to."""
        return trial in self._leaving

    def stay(self, trial: str) -> None:
        """A trial starts, or has come to an end: what it was asked no longer holds."""
        self._leaving.discard(trial)
        with contextlib.suppress(OSError):
            (self.folder_of(trial) / LEAVE).unlink(missing_ok=True)

    def _keep_looking(self) -> None:
        while not self._over.wait(LOOK_S):
            with contextlib.suppress(
                Exception
            ):  # Ray or the shared folder may be away; what was seen last holds
                self._count = self._looked()

    def _looked(self) -> Count:
        found, wish = self._look(), self._wishes.last()
        fit = self._fit(found)
        limits = {
            "no more are asked for": self._resources.concurrent,
            "no more are wished for": wish.max_concurrent,
        }
        most, reason = fit, f"as many as fit {len(found)} node(s)"
        if self._resources.wait_for_nodes_s:
            most, reason = fit + 1, f"one more than fit {len(found)} node(s), so that the cluster grows"
        for why, limit in limits.items():
            if limit is not None and limit < most:
                most, reason = limit, why
        if self._board is None:
            return Count(most, fit, reason)
        wanted = min(most, fit) if self._wanted is None else min(most, fit, self._wanted)
        share, others = self._shared(found, wanted, wish.priority)
        if share < wanted:
            return Count(share, fit, f"the share beside {others} other sweep(s)")
        return Count(most, fit, reason)

    def _fit(self, found: Sequence[Node]) -> int:
        if self._seen is None or self._seen[0] != found:
            # Where nodes were lost that workers need, one trial may still come to use what is stored, or wait for them.
            least = min(1, trials_that_fit(demand_of(self._resources), found))
            self._seen = found, max(least, trials_at_once(self._resources, found))
        return self._seen[1]

    def _shared(self, found: Sequence[Node], wanted: int, priority: int | None) -> tuple[int, int]:
        """The sweep's share, and how many others there are."""
        assert self._board is not None
        claim = Claim(
            self._sweep,
            self._since,
            self._resources.priority if priority is None else priority,
            wanted,
            demand_of(self._resources).bundle,
            reserve_of(self._resources, len(found)),
        )
        claims = self._board.post(claim)
        return allot(_total(found), claims)[self._sweep], len(claims) - 1


def places(
    plan: Plan,
    home: Home,
    address: str | None,
    tell: Callable[[Count], None],
    stopped: Callable[[], bool],
    look: Callable[[], Sequence[Node]] = nodes,
) -> Places:
    """How a sweep finds its places on the Ray this process is connected to.

    Args:
        address: None for an embedded Ray, which is no other sweep's.
        stopped: whether waiting for nodes is to end.

    Raises:
        UserError: what it asks for is on no node, or not even one trial fits.
    """
    paths, resources = home.sweep(plan.spec.name), plan.spec.resources
    await_fit(resources, stopped, look)
    board = None
    if address is not None:
        import ray

        cluster = ray.get_runtime_context().gcs_address
        board = Board(board_folder(home.root, cluster), plan.spec.name)
    return Places(resources, plan.spec.name, paths.trials, board, Wishes(paths.wishes), tell, look)


def bundle_of(resources: Resources) -> Any:
    """What Tune is to reserve for a trial."""
    from ray.tune import PlacementGroupFactory

    demand = demand_of(resources)
    chosen = {"bundle_label_selector": [dict(demand.labels)]} if demand.labels else {}
    return PlacementGroupFactory([dict(demand.bundle)], "PACK", **chosen)


def _ask_to_grow(bundle: Mapping[str, float]) -> None:
    """Tell Ray's autoscaler, where there is one, what is wanted."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[{kind: amount for kind, amount in bundle.items() if amount}])


def await_fit(
    resources: Resources,
    stopped: Callable[[], bool],
    look: Callable[[], Sequence[Node]] = nodes,
    ask: Callable[[Mapping[str, float]], None] = _ask_to_grow,
) -> None:
    """Wait until one trial fits, as long as the sweep lets nodes take to come.

    Args:
        ask: tells the cluster what a trial takes, once, so that it grows.

    Raises:
        UserError: none does by then.
    """
    until_s = time.monotonic() + resources.wait_for_nodes_s
    asked = resources.wait_for_nodes_s == 0
    while True:
        try:
            concurrent_trials(resources, look())
            break
        except UserError:
            if time.monotonic() >= until_s or stopped():
                raise
        if not asked:
            ask(demand_of(resources).bundle)
            asked = True
        time.sleep(0.5)


def _total(found: Sequence[Node]) -> dict[str, float]:
    total: dict[str, Any] = {}
    for node in found:
        for kind, amount in node.resources.items():
            total[kind] = total.get(kind, 0.0) + amount
    return total
