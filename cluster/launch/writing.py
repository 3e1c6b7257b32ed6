"""Launcher files on disk: none is written before all are checked, and never over something else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...platform.errors import Refused, UserError, UserErrors
from ...trainables.artifacts import write_text
from .checks import check_files
from .rendering import File


def write_files(folder: Path, files: Mapping[str, File], *, force: bool = False) -> list[Path]:
    """Write rendered files, once all of them have passed the checks.

    Args:
        folder: where to; made when missing.
        files: by path in the folder.
        force: replace files that are there and different.

    Raises:
        UserErrors: a file would not work.
        Refused: a file is there already and says something else, or the folder cannot be written to.
    """
    if mistakes := check_files({path: file.text for path, file in files.items()}):
        raise UserErrors(mistakes)
    different = [path for path, file in files.items() if _is_other(folder / path, file.text)]
    if different and not force:
        raise Refused(
            f"already holds other files of these names: {', '.join(different)}", key="--into", value=str(folder),
            fix="Choose another folder, or replace them with --force; what was edited in them is lost.",
        )  # fmt: skip
    try:
        for path, file in files.items():
            write_text(folder / path, file.text)
            if file.executable:
                (folder / path).chmod(0o755)
    except OSError as error:
        raise Refused(
            f"cannot be written to: {error.strerror}", key="--into", value=str(folder), fix="Choose another folder."
        ) from None  # fmt: skip
    return [folder / path for path in files]


def check_folder(folder: Path) -> list[str]:
    """Check the launcher files in a folder, edited or not; returns those that were looked at.

    Raises:
        UserError, UserErrors: there are none, or naming every mistake in them.
    """
    kept = [folder / name for name in ("README.md", "cluster.yaml") if (folder / name).is_file()]
    if len(kept) < 2:
        raise UserError(
            "holds no launcher files", key="--check", value=str(folder),
            fix="Give a folder that `flowsweep cluster init` has written.",
        )  # fmt: skip
    texts = {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".yaml", ".yml", ".toml", ".sh", ".sbatch", ".md") or path.name == "Dockerfile"
        if "secrets" not in path.parts and path.is_file()
    }
    if mistakes := check_files(texts):
        raise UserErrors(mistakes)
    return list(texts)


def _is_other(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") != text
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, UnicodeDecodeError):
        return True
