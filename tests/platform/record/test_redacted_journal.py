"""What is recorded holds no secret of the process that records it, and stays a journal."""

from __future__ import annotations

from flowsweep.platform.record.journal import Journal, read


def test_a_secret_is_not_recorded_and_the_fact_handed_on_is_the_recorded_one(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "1760000000")  # digits, as the times beside it have them
    with Journal(tmp_path / "journal.jsonl") as journal:
        fact = journal.append(
            "trial_ended", "t0", reason="denied: 1760000000", value=1760000000.5, deep=[{"k": "1760000000"}]
        )
        journal.append("progress", "t0", metrics={"loss": [1.0]})
    recorded = list(read(tmp_path / "journal.jsonl"))
    assert recorded[0] == fact
    assert fact.data == {"reason": "denied: ***", "value": 1760000000.5, "deep": [{"k": "***"}]}
    assert recorded[1].data == {"metrics": {"loss": [1.0]}}
