"""What a report says of settings that were not at work, and of the speed of updates."""

from __future__ import annotations

from ..journal.state import SweepState
from ..record.findings import findings, summarized, trials_text
from ..record.pace import paces
from .page import Column, Row, Section, Table
from .text import number


def not_at_work(record: SweepState) -> Section | None:
    """Searched ranges that could not matter, each with the evidence."""
    total = len(record.phase("search"))
    rows = [Row([one.setting, trials_text(one, total), one.reason]) for one in summarized(findings(record))]
    heads = [Column("setting"), Column("trials"), Column("why", long=True)]
    return Section("Settings that were not at work", tables=[Table(heads, rows)]) if rows else None


def speed(record: SweepState) -> Section | None:
    """Updates per second and process time per update, by stage."""
    rows = [
        Row([stage, number(one.updates), number(one.updates_per_s), number(1000 * one.cpu_s_per_update)])
        for stage, one in paces(record).items()
        if one.cpu_s_per_update is not None
    ]
    heads = [
        Column("stage"),
        *(Column(name, number=True) for name in ("updates", "per second", "CPU-ms each")),
    ]
    caption = "An update that trains several seeds at once counts for each. Evaluations are not counted."
    return Section("Speed", tables=[Table(heads, rows, caption)]) if rows else None
