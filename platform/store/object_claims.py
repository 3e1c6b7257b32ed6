"""Claims on an object store: who is computing which artifact, without locks and without trusting anyone's clock.

Two objects per claim, named by the key and the claim's own token::

    claims/KEY.TOKEN.json   who claims; written once
    claims/KEY.TOKEN.beat   there once the claim was won; longer by one byte with every heartbeat

To claim, write the first and look who else is there. Whoever has a heartbeat has won; among those without one the
earliest by the store's own time goes on, and the others withdraw. A claim has lapsed when *we* have watched its
heartbeat stand still for the whole stale time, by our own monotonic clock; at once when its process was on this
machine and has ended.

Object stores have no lock that pyarrow offers, so two may win in a race of milliseconds. They then do the same work
twice, and the first to publish is kept: a claim saves work, it does not guard results.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass

from .claims import ClaimRecord, is_dead, machine
from .object_files import files_at, get, put

FOLDER = "claims"
NAME_RULE = re.compile(r"(?P<key>[0-9a-f]{64})\.(?P<token>[0-9a-f]{32})\.(?P<part>json|beat)")
SETTLE_S = 1.0
"""How long the first of several at once waits for another that has already won to show its heartbeat."""
LONGEST_BEAT = 4096


@dataclass(frozen=True)
class Standing:
    """A claim as one look at the store shows it.

    Attributes:
        claimed_ns: when it was written, by the store's time.
        beat: time and length of its heartbeat; None until it was won.
    """

    key: str
    token: str
    claimed_ns: int
    beat: tuple[int, int] | None

    @property
    def order(self) -> tuple[int, str]:
        """Smaller goes first."""
        return self.claimed_ns, self.token


_WATCHED: dict[str, dict[str, tuple[Standing, float]]] = {}
"""By store and token: what was last seen of a claim, and since when (monotonic) it has looked like that."""
_RECORDS: dict[str, ClaimRecord] = {}
"""By token: what the claim says; it never changes."""
_LENGTHS: dict[str, int] = {}
"""By token: how long our own heartbeats are."""


@dataclass(frozen=True)
class ObjectClaims:
    """The claims of one store.

    Args:
        place: the store's address.
        stale_s: how long a heartbeat must have stood still before our eyes.
    """

    place: str
    stale_s: float

    def claim(self, key: str, holder: str) -> tuple[str, str | None] | ClaimRecord:
        """Our token and why another's claim was ended for it, or who has the claim."""
        alive, lapsed = self._sorted_out(key)
        if alive:
            return self._record(alive[0])
        token = self._write(key, holder)
        if rival := self._rival(key, token):
            self.drop(key, token)
            return self._record(rival)
        self.beat(key, token, first=True)
        for standing, _ in lapsed:
            self.drop(key, standing.token)
        return token, next((reason for _, reason in lapsed), None)

    def _rival(self, key: str, token: str) -> Standing | None:
        """Who goes before us, if anybody; gives a moment to whoever may have won without having shown it yet."""
        for look in range(2):
            others, _ = self._sorted_out(key, besides=token)
            mine = _WATCHED[self.place].get(token)
            before = [s for s in others if s.beat or (mine and s.order < mine[0].order)]
            if before or not others:
                return before[0] if before else None
            if look == 0:
                time.sleep(SETTLE_S)
        return None

    def beat(self, key: str, token: str, first: bool = False) -> bool:
        """Show that the holder lives; False when the claim has gone to another."""
        files = files_at(self.place)
        # A store that does not answer now may answer the next beat; ValueError: pyarrow has closed down at exit.
        with suppress(OSError, ValueError):
            if not first and not files.get_file_info(_name(key, token, "json")).is_file:
                return False
            _LENGTHS[token] = _LENGTHS.get(token, 0) % LONGEST_BEAT + 1
            put(files, _name(key, token, "beat"), b"." * _LENGTHS[token])
        return True

    def drop(self, key: str, token: str) -> None:
        """End a claim; does nothing when it has ended."""
        _LENGTHS.pop(token, None)
        for part in ("json", "beat"):
            with suppress(FileNotFoundError):
                files_at(self.place).delete_file(_name(key, token, part))

    def look(self) -> list[Standing]:
        """Every claim on the store in the order they were made, remembering what each looks like and since when."""
        from pyarrow.fs import FileSelector

        seen: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
        for info in files_at(self.place).get_file_info(FileSelector(FOLDER, allow_not_found=True)):
            if match := NAME_RULE.fullmatch(info.base_name):
                parts = seen.setdefault((match["key"], match["token"]), {})
                parts[match["part"]] = info.mtime_ns or 0, info.size or 0
        # Without its first part a claim has just been dropped.
        standings = [
            Standing(key, token, parts["json"][0], parts.get("beat"))
            for (key, token), parts in seen.items()
            if "json" in parts
        ]
        now, before = time.monotonic(), _WATCHED.get(self.place, {})
        _WATCHED[self.place] = {
            s.token: before[s.token] if s.token in before and before[s.token][0] == s else (s, now)
            for s in standings
        }
        return sorted(standings, key=lambda standing: standing.order)

    def lapsed(self, standing: Standing) -> str | None:
        """Why a claim may be taken over, or None while it may not, as far as this process has watched it."""
        record = self._record(standing)
        if record.machine == machine() and is_dead(record.pid):
            return f"its process {record.pid} has ended"
        _, since = _WATCHED.get(self.place, {}).get(standing.token, (standing, time.monotonic()))
        still_s = time.monotonic() - since
        return f"no heartbeat from {record.host} for {still_s:.0f} s" if still_s > self.stale_s else None

    def holder(self, key: str) -> ClaimRecord | None:
        """Who has a claim on a key, if anybody alive."""
        alive, _ = self._sorted_out(key)
        return self._record(alive[0]) if alive else None

    def _sorted_out(self, key: str, besides: str = "") -> tuple[list[Standing], list[tuple[Standing, str]]]:
        """The claims on a key that stand, winners first, and those that have lapsed with the reason."""
        alive, lapsed = [], []
        for standing in self.look():
            if standing.key == key and standing.token != besides:
                why = self.lapsed(standing)
                if why is None:
                    alive.append(standing)
                else:
                    lapsed.append((standing, f"taken over from {self._record(standing).holder}: {why}"))
        return sorted(alive, key=lambda s: (s.beat is None, s.order)), lapsed

    def _write(self, key: str, holder: str) -> str:
        token = uuid.uuid4().hex
        record = ClaimRecord(token, holder, socket.gethostname(), machine(), os.getpid(), time.time())
        put(files_at(self.place), _name(key, token, "json"), json.dumps(asdict(record)).encode())
        _RECORDS[token] = record
        return token

    def _record(self, standing: Standing) -> ClaimRecord:
        """What a claim says; one that was dropped meanwhile, or says nothing, has an unknown holder."""
        if standing.token not in _RECORDS:
            try:
                content = get(files_at(self.place), _name(standing.key, standing.token, "json"))
                _RECORDS[standing.token] = ClaimRecord(**json.loads(content))
            except (FileNotFoundError, ValueError, TypeError):
                since = standing.claimed_ns / 1e9
                return ClaimRecord(standing.token, "unknown", "an unknown host", "", 0, since)
        return _RECORDS[standing.token]


def _name(key: str, token: str, part: str) -> str:
    return f"{FOLDER}/{key}.{token}.{part}"
