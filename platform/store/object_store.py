"""The stage store on an object store (S3, GCS): the same contract as the folder, without its locks.

Layout under the address::

    v1/ab/KEY/TOKEN/...     one publication of an artifact; it counts once its manifest, written last, is there
    v1/ab/KEY/used          when somebody last used it
    claims/                 see object_claims

Should several have published one key, the first by the store's own time counts, for everyone and for good: names are
never written twice, so nobody reads a mixture. Readers download into a local folder, check the digests there, and
read (memory-map) that copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ...trainables.artifacts import (
    FORMAT,
    MANIFEST,
    Artifact,
    Damaged,
    Finished,
    Held,
    Provenance,
    parse_manifest,
    read_snapshot,
)
from ...trainables.base import Snapshot
from ...trainables.errors import UserError
from .base import Leftover, StageClaim, checked_key, delete, until_free
from .claims import ClaimRecord
from .object_claims import FOLDER as CLAIMS
from .object_claims import ObjectClaims
from .object_copies import USED, Copies, folder_of, last_used, look, manifests, newest, publication, size
from .object_files import drop_folder, files_at, get, in_words

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

T = TypeVar("T")

READERS = 16
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Between attempts while the store does not answer, on top of pyarrow's own."""

_HELD: dict[tuple[str, str], tuple[Held, float]] = {}
"""By place and key: who was found computing it, and when (monotonic), so that waiting costs few requests."""


@dataclass(frozen=True)
class ObjectStore:
    """Stage outputs by content address in an object store. Holds no connection, so it travels to workers.

    Args:
        place: ``s3://bucket/prefix`` or ``gs://bucket/prefix``.
        cache: folder of this machine for verified copies; several stores and processes may share it.
        heartbeat_s: how often a holder shows that it lives.
        stale_s: how long a heartbeat must have stood still before our eyes for its claim to be taken over.
    """

    place: str
    cache: Path
    heartbeat_s: float = 5.0
    stale_s: float = 30.0

    def acquire(self, key: str, holder: str, wait_s: float = 0.0) -> Finished | StageClaim | Held:
        """As of :class:`StageStore`.

        Raises:
            UserError: the store has not answered for half a minute.
        """
        return until_free(lambda: _patiently(self.place, lambda: self._acquire(key, holder)), wait_s)

    def load(self, key: str) -> Snapshot:
        """The stored output, its digests checked.

        Raises:
            KeyError: it is not there.
            Damaged: it is not what was written; it no longer counts and the next to ask computes it.
            UserError: the store has not answered for half a minute.
        """
        return read_snapshot(self.fetch(key))

    def fetch(self, key: str) -> Path:
        """A folder of this machine with the verified output; raises as :meth:`load` does."""
        return _patiently(self.place, lambda: self._copies.of(key))

    def has(self, key: str) -> bool:
        """Whether an output of that key is stored; its content is not checked."""
        return bool(manifests(look(self.place, folder_of(key))))

    def where(self, key: str) -> str:
        """Where the artifact of that key is or would be, for people."""
        return f"{self.place.partition('?')[0]}/{folder_of(key)}"

    def list(self) -> list[Artifact]:
        """Every artifact with its size, its last use and what it cost, oldest first; contents are not checked."""
        by_key = self._by_key()
        with ThreadPoolExecutor(READERS) as readers:
            found = readers.map(lambda item: self._described(*item), by_key.items())
        return sorted((a for a in found if a is not None), key=lambda artifact: artifact.created)

    def last_used(self, key: str) -> float:
        """Unix seconds of the last use, by the store's own time; 0 when it is not there."""
        return last_used(look(self.place, folder_of(key)))

    def held_by(self, key: str) -> str:
        """Who is computing it right now, in words; a claim nobody has watched lapse counts as held."""
        record = self._claims.holder(key)
        return f"{record.holder} on {record.host}" if record else ""

    def remove(self, key: str) -> int:
        """Delete an artifact; whoever needs it again computes it again. Returns the bytes freed."""
        infos = look(self.place, folder_of(key))
        if infos:
            drop_folder(files_at(self.place), folder_of(key))
        return size(infos)

    def leftovers(self) -> Iterator[Leftover]:
        """Unfinished, surplus and damaged publications, claims of the dead, and copies on this machine."""
        for infos in self._by_key().values():
            found = manifests(infos)
            counts = publication(found[0]) if found else ""
            for name in {publication(info) for info in infos if info.base_name != USED} - {counts}:
                parts = [info for info in infos if publication(info) == name]
                yield Leftover(f"{self.place}#{name}", size(parts), newest(parts))
        for info in look(self.place, CLAIMS):
            yield Leftover(f"{self.place}#{info.path}", info.size or 0, newest([info]))
        yield from self._copies.list()

    def remove_leftover(self, name: str) -> int:
        """Delete one of :meth:`leftovers`; returns the bytes freed."""
        place, mark, path = name.rpartition("#")
        if not mark or place != self.place:
            return delete(Path(name)) if Path(name).is_relative_to(self._copies.folder) else 0
        files = files_at(self.place)
        infos = [info for info in look(self.place, path.rpartition("/")[0]) if info.path.startswith(path)]
        if path.startswith(f"{CLAIMS}/"):
            with suppress(FileNotFoundError):
                files.delete_file(path)
        else:
            drop_folder(files, path)
        return size(infos)

    def _acquire(self, key: str, holder: str) -> Finished | StageClaim | Held:
        checked_key(key)
        held, at_s = _HELD.get((self.place, key), (None, 0.0))
        if held is not None and time.monotonic() - at_s < self.heartbeat_s / 2:
            return held
        reason = None
        while True:
            try:
                return Finished(_artifact(key, self._copies.of(key)))
            except Damaged as error:
                reason = f"the stored output was damaged: {error.what}"
            except KeyError:
                pass
            answer = self._claims.claim(key, holder)
            if isinstance(answer, ClaimRecord):
                held = Held(answer.holder, answer.since)
                _HELD[self.place, key] = held, time.monotonic()
                return held
            token, lapsed = answer
            if not self.has(key):
                return StageClaim(self, key, token, reason or lapsed)
            self._claims.drop(key, token)  # Published since we looked.

    def _publish(self, claim: StageClaim, aside: Path) -> Artifact:
        path = _patiently(self.place, lambda: self._copies.upload(claim.key, claim.token, aside))
        self._release(claim)
        return _artifact(claim.key, path)

    def _release(self, claim: StageClaim) -> None:
        _HELD.pop((self.place, claim.key), None)
        with suppress(OSError):  # What cannot be dropped now lapses.
            self._claims.drop(claim.key, claim.token)

    def _described(self, key: str, infos: Sequence[FileInfo]) -> Artifact | None:
        """One artifact from what lies in its folder; None when there is no whole one."""
        if not (found := manifests(infos)):
            return None
        name = publication(found[0])
        try:
            manifest = parse_manifest(get(files_at(self.place), found[0].path), Path(name))
        except (FileNotFoundError, Damaged):  # Removed or damaged while we look.
            return None
        path = self._copies.path(key, name)
        return Artifact(
            key, path, Provenance(**manifest.get("provenance", {})), manifest["created"], manifest["bytes"],
            last_used(infos), size(infos),
        )  # fmt: skip

    def _by_key(self) -> dict[str, Sequence[FileInfo]]:
        """Everything stored, by one walk over all names."""
        by_key = {}
        for info in look(self.place, f"v{FORMAT}"):
            by_key.setdefault(info.path.split("/")[2], []).append(info)
        return by_key

    def _aside(self) -> AbstractContextManager[Path]:
        return self._copies.aside()

    @property
    def _copies(self) -> Copies:
        return Copies(self.place, self.cache)

    @property
    def _claims(self) -> ObjectClaims:
        return ObjectClaims(self.place, self.stale_s)


def _patiently(place: str, call: Callable[[], T]) -> T:
    """Do something on the store, again while it does not answer.

    Raises:
        UserError: it has not answered to the last.
    """
    pauses = iter(PAUSES_S)
    while True:
        try:
            return call()
        except OSError as error:
            if error.errno is not None:
                raise  # This machine's own disk; pyarrow's errors of remote stores carry no number.
            pause_s = next(pauses, None)
            if pause_s is None:
                raise UserError(
                    f"the stage store does not answer: {in_words(error)}",
                    key="stages", value=place,
                    fix="What was reported is kept; when it answers again, `flowsweep resume`.",
                ) from error  # fmt: skip
        time.sleep(pause_s)


def _artifact(key: str, path: Path) -> Artifact:
    manifest = parse_manifest((path / MANIFEST).read_bytes(), path)
    provenance = Provenance(**manifest.get("provenance", {}))
    return Artifact(key, path, provenance, manifest["created"], manifest["bytes"])
