"""A small complete system of one's own to begin with: its file, a test of what it promises, and a sweep of it."""

from __future__ import annotations

import keyword
from pathlib import Path

from ..errors import UserError

TEMPLATES = Path(__file__).parent / "templates"


def write_system(name: str, folder: Path, *, function: bool = False) -> list[Path]:
    """Write the files.

    Args:
        name: of the system; its module has underscores for what a module's name cannot hold.
        folder: written into; made where it is missing.
        function: a training function instead of stages and learners.

    Raises:
        UserError: the name is unfit, or a file of that name is there.
    """
    module = name.replace("-", "_").replace(".", "_")
    if not module.isidentifier() or keyword.iskeyword(module):
        raise UserError(
            "cannot be the name of a module", key="NAME", value=name, fix="Use letters, digits, `-` and `_`."
        )
    words = {
        "name": name,
        "module": module,
        "attribute": "train" if function else "SYSTEM",
        "metric": "loss" if function else "distance",
    }
    sources = {
        f"{module}.py": "function.py.txt" if function else "system.py.txt",
        f"test_{module}.py": "test.py.txt",
        f"{module}.yaml": "sweep.yaml.txt",
    }
    for file in sources:
        if (folder / file).exists():
            raise UserError(
                "is there already", key="NAME", value=str(folder / file), fix="Choose another name or folder."
            )
    folder.mkdir(parents=True, exist_ok=True)
    for file, template in sources.items():
        text = (TEMPLATES / template).read_text(encoding="utf-8")
        (folder / file).write_text(text.format(**words), encoding="utf-8")
    return [folder / file for file in sources]
