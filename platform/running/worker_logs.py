"""What a worker said before it ended: Ray tells of a crash only that there was one."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from pathlib import Path

from ...trainables.failures import Failure
from ...trainables.redaction import redacted
from .failures import WORKER_LOST
from .ray_daemons import ray_node

LOG = "worker.log"
"""In a trial's folder: what its worker had printed when it was lost."""
LINES, KEPT_BYTES = 3, 1 << 20
_PID = re.compile(r"^\s*pid: (\d+)", re.MULTILINE)
_MARKERS = (":job_id:", ":actor_name:", ":task_name:")


class WorkerLogs:
    """Adds to the loss of a worker what its log says.

    A worker that ends before its trial has said anything, with the same words as one before, is no accident: something it
    loads ends it, and would end the next one.

    Args:
        folder: Ray's logs on this node; those of the Ray this process is connected to when None.
    """

    def __init__(self, folder: Path | None = None):
        self._folder = folder
        self._at_start: Counter[str] = Counter()

    def explain(self, said: str, failure: Failure, trial: Path, silent: bool) -> Failure:
        """The failure with the first lines of the worker's log, which is kept in the trial's folder.

        Args:
            said: Ray's message.
            failure: what that comes to.
            trial: the folder of the trial it was lost for.
            silent: whether the worker was lost before that trial had said anything.
        """
        if failure.reason != WORKER_LOST or not (log := self._log(said)):
            return failure
        with suppress(OSError):
            trial.mkdir(parents=True, exist_ok=True)
            (trial / LOG).write_text(redacted(log), encoding="utf-8")
        words = redacted(" / ".join(log.splitlines()[:LINES]))[:400]
        if not silent:
            return Failure(failure.failure_class, f"{failure.reason}; its log: {words}")
        self._at_start[words] += 1
        again = self._at_start[words] > 1
        return Failure(
            "code_error" if again else failure.failure_class,
            f"its worker ended while it started{' again' if again else ''}; its log: {words}",
        )

    def _log(self, said: str) -> str:
        """What the worker printed, the errors first; empty where it is not known, or was on another node."""
        pid = _PID.search(said)
        folder = self._folder or _logs_here()
        if pid is None or folder is None:
            return ""
        lines: list[str] = []
        for kind in ("err", "out"):
            for file in folder.glob(f"worker-*-{pid[1]}.{kind}"):
                with suppress(OSError), open(file, errors="replace") as opened:
                    printed = opened.read(KEPT_BYTES).splitlines()
                    lines += [line for line in printed if line.strip() and not line.startswith(_MARKERS)]
        return "\n".join(lines)


def _logs_here() -> Path | None:
    node = ray_node()
    return Path(node.get_logs_dir_path()) if node is not None else None
