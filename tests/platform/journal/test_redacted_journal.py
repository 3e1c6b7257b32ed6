"""What is recorded holds no secret of the process that records it, and stays a journal."""

from __future__ import annotations

from flowsweep.platform.journal.events import SweepStarted
from flowsweep.platform.journal.journal import Journal, read
from flowsweep.trainables.events import Progress


def test_a_secret_is_not_recorded_and_the_fact_handed_on_is_the_recorded_one(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "1760000000")  # digits, as the times beside it have them
    with Journal(tmp_path / "journal.jsonl") as journal:
        fact = journal.append(
            SweepStarted(
                host="denied: 1760000000", plan={"core_h": 1760000000.5, "deep": [{"k": "1760000000"}]}
            ),
            "t0",
        )
        journal.append(Progress(stage="refine", step=1, steps=2, seeds=(0,), metrics={"loss": [1.0]}), "t0")
    recorded = list(read(tmp_path / "journal.jsonl"))
    assert recorded[0] == fact
    plan = {"core_h": 1760000000.5, "deep": [{"k": "***"}]}
    assert fact.event == SweepStarted(host="denied: ***", plan=plan)
    assert recorded[1].event.metrics == {"loss": [1.0]}
