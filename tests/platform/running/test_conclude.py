"""What cannot be written at the end does not cost a sweep its end."""

from __future__ import annotations

import errno

import pytest
from flowsweep.platform.errors import UserError
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.running import conclude
from flowsweep.platform.running.conclude import conclude as concluded


def test_tables_that_a_full_disk_does_not_take_are_told_and_no_more(walked, monkeypatch):
    def full(record):
        raise OSError(errno.ENOSPC, "No space left on device")

    paths = walked("maze", "t0000").sweep("maze")
    monkeypatch.setattr(conclude, "write_tables", full)
    with Journal(paths.journal) as journal:
        assert "No space left on device" in str(concluded(paths, journal))


def test_a_record_that_cannot_be_written_is_still_an_error(walked, monkeypatch):
    def refused(record):
        raise UserError("the record of the sweep cannot be written")

    paths = walked("maze", "t0000").sweep("maze")
    monkeypatch.setattr(conclude, "write_tables", refused)
    with Journal(paths.journal) as journal, pytest.raises(UserError, match="cannot be written"):
        concluded(paths, journal)
