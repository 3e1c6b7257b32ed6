"""How a sweep is asked to end: by a person, who can wait, or by a machine that is about to go."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..journal.events import Entry, Left, StopRequested
from ..paths import SweepPaths

HURRY_S = 5.0
"""After SIGTERM or SIGHUP: how long trials may take to store their state. Then the driver leaves; trials that were not
ready go on from their last checkpoint."""
AGAIN_S = 1.0
"""The driver is told again so often: an exception raised in a callback of another library may be swallowed there."""
LEAVE_S = 9.0
"""After the signal: a driver that has not left by then is held up in a call that does not return, and is ended."""
GONE_S = 2.0
"""How long a driver whose Ray has ended may take to notice, having been told to leave; four times that if it was not."""
LOOK_S = 0.5
MACHINE = frozenset({signal.SIGTERM, signal.SIGHUP})
"""Told by a machine that will not wait: the system goes down, the job's time is over, the terminal was closed."""
ASKING = MACHINE | {signal.SIGINT}


class Stopping:
    """Whether the sweep was asked to end.

    The first Ctrl-C lets every trial store its state and leave, however long that takes; the second leaves at once.
    SIGTERM, and SIGHUP of a terminal that was closed, is a first Ctrl-C with a second one ``HURRY_S`` later.

    Signals are heard by a thread as well, which ends the process where its main thread cannot: it may be waiting for an
    answer of a Ray that was ended by the same signal.

    Args:
        paths: where trials look for the request.
        watch: told of it.
    """

    def __init__(self, paths: SweepPaths, watch: Callable[[Entry], None]):
        self._paths, self._watch = paths, watch
        self._asked = self._told = self._at_once = False
        self.hurried = False
        """Whether there are only seconds left."""
        self.broken_off = False
        """Whether that is why the conclusion was broken off."""
        self.gone: Callable[[], str] = lambda: ""
        """What of Ray has ended that the sweep cannot do without; empty while all is there."""
        self.last_word: Callable[[str], None] = lambda why: watch(
            Entry(seq=-1, time=time.time(), event=Left(reason=why))
        )
        """Says and records that the process ends now; the main thread cannot."""

    def is_set(self) -> bool:
        """Whether trials are to leave and nothing new is to start."""
        if self._asked and not self._told:
            # Not from the handler: it may have interrupted a print, which would then come out twice.
            self._told = True
            self._watch(Entry(seq=-1, time=time.time(), event=StopRequested(hurried=self.hurried)))
        return self._asked

    def ask(self) -> None:
        """Let every trial store its state and leave; what is started later is not concerned once it is withdrawn."""
        self._paths.stop_request.touch()

    def withdraw(self) -> None:
        """Trials may start again, unless the whole sweep is to end."""
        if not self._asked:
            self._paths.stop_request.unlink(missing_ok=True)

    @contextlib.contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Meanwhile a signal raises ``KeyboardInterrupt`` at once: no trial is left that could store anything."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def left(self) -> None:
        """The main thread has been reached and is on its way out."""
        if threading.current_thread() is threading.main_thread():
            signal.setitimer(signal.ITIMER_REAL, 0)

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[Stopping]:
        """Listen to SIGINT, SIGTERM and SIGHUP meanwhile; outside the main thread there is nothing to hear."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        handled = [signal.SIGINT, signal.SIGTERM, signal.SIGALRM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # `nohup` means what it says
            handled.append(signal.SIGHUP)
        previous = {number: signal.signal(number, self._on_signal) for number in handled}
        try:
            with self._heard_apart():
                yield self
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: Any) -> None:
        machine = number in MACHINE
        again = self._asked and (not machine or self.hurried)
        first, self._asked = not self._asked, True
        if machine and not self.hurried:
            self.hurried = True
            signal.setitimer(signal.ITIMER_REAL, HURRY_S, AGAIN_S)
        if again or self._at_once:
            self.broken_off |= self._at_once
            raise KeyboardInterrupt
        if first:
            self.ask()

    @contextlib.contextmanager
    def _heard_apart(self) -> Iterator[None]:
        """Let a thread hear of every signal too, whatever the main thread is doing."""
        ear, mouth = os.pipe()
        os.set_blocking(mouth, False)
        before = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
        thread = threading.Thread(target=self._see_to_it, args=(ear,), name="stopping", daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.close(mouth)  # the thread reads the end of the pipe and is done
            thread.join()
            os.close(ear)

    def _see_to_it(self, ear: int) -> None:
        """End the process if the main thread does not within the time that it has."""
        heard, until_s, why = set(), float("inf"), ""
        while time.monotonic() < until_s:
            said = os.read(ear, 64) if select.select([ear], [], [], LOOK_S)[0] else None
            if said == b"":
                return
            again = (said or b"").count(signal.SIGINT) + (signal.SIGINT in heard) > 1
            heard |= ASKING.intersection(said or b"")
            if (again or heard & MACHINE) and not why:
                until_s, why = time.monotonic() + LEAVE_S, "The driver was held up"
            if not why.startswith("Ray") and (ended := self.gone()):
                patience_s = GONE_S if heard else 4 * GONE_S
                until_s, why = min(until_s, time.monotonic() + patience_s), f"Ray has ended: {ended}"
        self.last_word(why)
        os._exit(130 if heard else 4)
