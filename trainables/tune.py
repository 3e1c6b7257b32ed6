"""The Ray Tune Trainable that walks any system through its stages."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from .artifacts import ArtifactStore
from .errors import Diverged, UserError
from .events import Evaluated, Event, Produced, Pulse
from .request import TrialRequest
from .walk import Walk

REPORT_EVERY_S = 1.0


class StageWalk(Trainable):
    """One trial on one worker. A step gathers events for about a second, or up to the next evaluation.

    The result of a step is ``{"events": [...], "complete": bool, "failure": {...} | None}``. A result never says
    ``done``: the scheduler ends the trial, so that every result passes it first. Nothing is left to Tune's own
    checkpoints; an actor that is restarted anywhere continues from the trial's folder.

    Parameters given by ``tune.with_parameters``:
        store: where finished stages are shared.
        folder: the sweep's folder.
    """

    def setup(self, config: dict[str, Any], store: ArtifactStore, folder: Path) -> None:
        self._store, self._sweep_folder = store, folder
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in the same process: imports, data and environments stay warm."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._request = config["request"]
        self._folder = self._sweep_folder / "trials" / self._request["trial"]
        self._walk: Walk | None = None
        self._events: Iterator[Event] = iter(())

    def step(self) -> dict[str, Any]:
        events: list[Event] = []
        complete, failure = False, None
        try:
            if self._walk is None:
                self._walk = Walk(
                    TrialRequest.model_validate(self._request, strict=False), self._store, self._folder
                )
                self._events = iter(self._walk)
            complete = self._gather(events)
        except Interrupted:
            failure = {"status": "cancelled", "reason": "stop requested"}
        except Exception as error:
            failure = _classified(error)
            events += _log_of(error, self._folder, failure)
        return {"events": [event.to_json() for event in events], "complete": complete, "failure": failure}

    def _gather(self, events: list[Event]) -> bool:
        """Collect events until it is time to report; True when the walk has ended."""
        report_at_s = time.monotonic() + REPORT_EVERY_S
        for event in self._events:
            events.append(event)
            if (self._sweep_folder / "stop").exists():
                events += [saved] if (saved := self._walk and self._walk.checkpoint()) else []
                raise Interrupted
            if isinstance(event, Evaluated) or time.monotonic() > report_at_s:
                # Of several pulses in one report only the newest says anything.
                events[:-1] = [event for event in events[:-1] if not isinstance(event, Pulse)]
                return False
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the walk stores its own state in the trial's folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: the walk finds its own state in the trial's folder."""


class Interrupted(Exception):
    """The sweep was asked to stop; the state has been stored."""


def _classified(error: Exception) -> dict[str, str]:
    """The failure class of an error: what the platform does about it depends on this alone."""
    if isinstance(error, Diverged):
        return {"status": "diverged", "reason": str(error)}
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return {"status": "out_of_memory", "reason": str(error) or "out of memory"}
    prefix = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return {"status": "failed", "reason": f"{prefix}{error}"}


def _log_of(error: Exception, folder: Path, failure: dict[str, str]) -> list[Event]:
    if failure["status"] != "failed" or isinstance(error, UserError):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "traceback.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return [Produced("traceback.txt", "log")]
