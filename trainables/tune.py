"""The Ray Tune Trainable that walks any system through its stages."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from .artifacts import ArtifactStore
from .events import Evaluated, Event, Progress, Pulse, Waiting
from .failures import classified, log_of
from .handed import take_up
from .leaving import LEAVE, Leaving
from .request import TrialRequest
from .spool import Spool
from .user_code.code import Code
from .user_code.known import declare
from .walk import Walk

REPORT_EVERY_S = 1.0
REPORTS_PER_S = 200
"""More reports of progress a second than these would keep the driver busy, and trials waiting for it."""


def report_every_s(trials: int) -> float:
    """How often each of so many trials at once reports how far it is. Evaluations and ends are reported at once."""
    return max(REPORT_EVERY_S, trials / REPORTS_PER_S)


class StageWalk(Trainable):
    """One trial on one worker. A step gathers events for about a second, or up to the next evaluation.

    The result of a step is ``{"events": [...], "complete": bool, "left": bool, "failure": {...} | None}``: what
    happened, whether the walk has ended, whether it was broken off because the sweep was asked to stop, and why it
    could not go on (:class:`.failures.Failure`). A result never says ``done``: the scheduler ends the trial, so that every
    result passes it first. Nothing is left to Tune's own checkpoints; an actor that is restarted anywhere continues from
    the trial's folder. Told to leave (SIGTERM), it stores the state first.

    Parameters given by ``tune.with_parameters``:
        store: where finished stages are shared.
        folder: the sweep's folder.
        at_once: how many trials run beside each other, this one among them.
        code: the file of the user's own that the system is, if it is one.
    """

    def setup(
        self, config: dict[str, Any], store: ArtifactStore, folder: Path, at_once: int = 1,
        code: Code | None = None,
    ) -> None:  # fmt: skip
        take_up()
        self._at_once, self._is_new, self._code = at_once, True, code
        self._store, self._sweep_folder, self._leaving = store, folder, Leaving()
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in the same process: imports, data and environments stay warm."""
        self._spool.heard()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._request = config["request"]
        declare(self._request["system"], self._code)
        self._folder = self._sweep_folder / "trials" / self._request["trial"]
        self._spool = Spool(self._folder)
        self._walk: Walk | None = None
        self._events: Iterator[Event] = iter(())

    def step(self) -> dict[str, Any]:
        with self._leaving.working():
            return self._step()

    def _step(self) -> dict[str, Any]:
        events: list[Event] = []
        complete, left, failure = False, False, None
        # Tune asks for more only after the last result was taken in; a new process cannot know how far that came.
        unheard = self._spool.unheard() if self._walk is None else []
        if self._walk is not None:
            self._spool.heard()
        try:
            if self._walk is None:
                self._walk = Walk(TrialRequest.recorded(self._request), self._store, self._folder)
                self._events = iter(self._walk)
            complete = self._gather(events)
        except Interrupted:
            left = True
            self._let_go()  # what it claims to compute is free for others, whatever becomes of this process
        except Exception as error:
            failure = classified(error)
            events += log_of(error, self._folder)
            self._let_go()
            if failure.failure_class == "out_of_memory":
                _free_memory()
        return {
            "events": [*unheard, *(event.to_json() for event in events)],
            "complete": complete,
            "left": left,
            "failure": failure.to_json() if failure else None,
        }

    def _gather(self, events: list[Event]) -> bool:
        """Collect events until it is time to report; True when the walk has ended."""
        report_at_s = time.monotonic() + report_every_s(self._at_once)
        for event in self._events:
            self._note(events, event)
            if self._is_asked():
                if saved := self._walk and self._walk.checkpoint():
                    self._note(events, saved)
                if self._leaving.asked:
                    self._leaving.leave()
                raise Interrupted
            # The driver starts the next worker when this one has said that it is at work.
            at_work = self._is_new and isinstance(event, Progress | Pulse | Waiting)
            if at_work or isinstance(event, Evaluated) or time.monotonic() > report_at_s:
                self._is_new = False
                # Of several pulses in one report only the newest says anything.
                events[:-1] = [event for event in events[:-1] if not isinstance(event, Pulse)]
                return False
        return True

    def _is_asked(self) -> bool:
        """Whether it is to leave: this process, the whole sweep, or this trial."""
        files = (self._sweep_folder / "stop", self._folder / LEAVE)
        return self._leaving.asked or any(file.exists() for file in files)

    def _note(self, events: list[Event], event: Event) -> None:
        events.append(event)
        if not isinstance(event, Pulse | Waiting):
            self._spool.say(event.to_json())

    def _let_go(self) -> None:
        """Give back what the walk held, so that this process can take up another trial, or this one in less memory."""
        self._walk, self._events = None, iter(())

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the walk stores its own state in the trial's folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: the walk finds its own state in the trial's folder."""


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class Interrupted(Exception):
    """The sweep or the trial was asked to stop; the state has been stored."""


def __getattr__(name: str) -> Any:
    """``trainable`` and its kind live in :mod:`.plain_tune`; they are no part of the platform's own loop."""
    if name == "trainable":
        from .plain_tune import trainable

        return trainable
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
