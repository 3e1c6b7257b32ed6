"""The page about faults tells of every fault there is, in the drill's own words."""

from __future__ import annotations

from pathlib import Path

import flowsweep
from flowsweep.platform.drill.drill import FAULTS


def test_the_page_has_a_row_for_every_fault_and_for_no_other():
    page = (Path(flowsweep.__file__).parent / "docs" / "faults.md").read_text()
    table = page.split("## The faults")[1].split("\n## ")[0]
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("| `")]
    told = [(name.strip().strip("`"), does.strip(), holds.strip()) for name, does, holds in rows]
    assert told == [(fault.name, fault.does, fault.holds.strip()) for fault in FAULTS]
