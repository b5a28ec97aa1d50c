"""docs/bad-input.md names a test for each row: each of them must exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def named_tests():
    """(file, function or "") in the order of the document; `::test` alone is of the file before it."""
    file = ""
    for path, name in re.findall(r"(tests/\w+/\w+\.py)?(?:::(\w+))?", (ROOT / "docs" / "bad-input.md").read_text()):
        file = path or file
        if path or name:
            yield file, name


def test_every_test_that_the_table_names_exists():
    found = list(named_tests())
    assert len(found) > 60
    missing = [
        f"{file}::{name}"
        for file, name in found
        if not (ROOT / file).is_file() or (name and f"def {name}(" not in (ROOT / file).read_text())
    ]
    assert missing == []


def test_every_row_of_the_table_names_one():
    lines = (ROOT / "docs" / "bad-input.md").read_text().splitlines()
    rows = [one for one in lines if one.startswith("| ") and not one.startswith(("| input", "| ---"))]
    assert [one for one in rows if "tests/" not in one and not one.endswith("| the same |")] == []
