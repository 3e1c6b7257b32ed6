"""Every claim of docs/security.md names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_protection_names_a_test_that_exists():
    page = (ROOT / "docs" / "security.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and line.count("|") == 4]
    claims = [row for row in rows if not row.startswith("| protected |")]
    assert len(claims) > 12
    assert not [row for row in claims if "test" not in row.rsplit("|", 2)[1]]
    there = {file.name for file in (ROOT / "tests").rglob("*.py")}
    assert set(re.findall(r"test_\w+\.py", page)) <= there
    assert all((ROOT / folder).is_dir() for folder in re.findall(r"`(tests/[\w/]+/)`", page))
