"""The notebook in docs runs from its first cell to its last."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_cell_of_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(ROOT / "docs")
    notebook = json.loads((ROOT / "docs" / "first-sweep.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    said: dict = {}
    for number, text in enumerate(cells):
        exec(compile(text, f"cell {number}", "exec"), said)
    assert said["result"].best is not None
    assert said["result"].rerun().verdict == "reproduced"
    assert len(said["further"].study.trials) == 6
    assert not any(cell.get("outputs") for cell in notebook["cells"]), "outputs are made where it is run"
