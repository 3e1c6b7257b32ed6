"""Getting a dataset that is not on this machine, or saying how to."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable

from ..errors import UserError, nearest
from .names import minari_data_path, minari_root

_PATIENCE_S = 8.0


def fetch(minari_id: str) -> None:
    """Download a dataset through Minari.

    Only whether its server answers is given a short time; a download that has begun may take as long as it needs.

    Raises:
        UserError: it is one to make here, no server answers, or the server does not have it.
    """
    _refuse_if_made_here(minari_id)
    if not _answers(_server()):
        raise UserError(
            "is not on this machine, and Minari's server does not answer",
            key="dataset",
            value=minari_id,
            fix=f"With a network: `minari download {minari_id}`. OGBench files: `flowsweep data import`. "
            f"{_what_is_here(minari_id)}",
        )
    from filelock import FileLock

    with FileLock(minari_root() / f".{minari_id.replace('/', '.')}.lock"):
        if not (minari_data_path(minari_id) / "metadata.json").exists():
            _download(minari_id)


def local_datasets() -> list[str]:
    """Ids of the Minari datasets on this machine, found without importing Minari."""
    root = minari_root()
    found = root.glob("**/data/metadata.json") if root.is_dir() else ()
    ids = (path.parent.parent.relative_to(root).as_posix() for path in found)
    return sorted(name for name in ids if not any(part.startswith(".") for part in name.split("/")))


def _refuse_if_made_here(minari_id: str) -> None:
    from .makers import NAMESPACE, RECIPES, recipe_for

    made = recipe_for(minari_id)
    if made:
        recipe, steps, seed = made
        size = "" if steps == recipe.default_steps else f" --steps {steps}"
        chosen = f" --seed {seed}" if seed else ""
        raise UserError(
            "has not been made on this machine yet",
            key="dataset",
            value=minari_id,
            fix=f"Make it with `flowsweep data make {recipe.name}{size}{chosen}`.",
        )
    if minari_id.startswith(f"{NAMESPACE}/"):
        recipes: Iterable[str] = (f"{NAMESPACE}/{name}-v0" for name in RECIPES)
        raise UserError(
            "is not on this machine and no recipe makes it",
            key="dataset",
            value=minari_id,
            fix=nearest(minari_id, [*recipes, *local_datasets()]),
        )


def _download(minari_id: str) -> None:
    import minari

    try:
        with contextlib.redirect_stdout(sys.stderr):
            minari.download_dataset(minari_id)
    except Exception as error:  # anything its storage back ends raise
        raise UserError(
            f"could not be downloaded ({type(error).__name__}: {error})",
            key="dataset",
            value=minari_id,
            fix="`minari list remote` shows what there is.",
        ) from error


def _server() -> str:
    if os.environ.get("MINARI_REMOTE", "").startswith("gcp://"):
        return "https://storage.googleapis.com"
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def _answers(url: str) -> bool:
    answered: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=_PATIENCE_S):
                answered.append(True)
        except urllib.error.HTTPError:
            answered.append(True)  # it refused the question, so it is there
        except OSError:
            pass

    # In a thread, because looking up a name has no timeout of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    return bool(answered)


def _what_is_here(minari_id: str) -> str:
    here = local_datasets()
    return nearest(minari_id, here) if here else "Nothing is on this machine yet."
