"""Test the keys of the views that the data dictionary names."""

from __future__ import annotations

import re
from pathlib import Path

from braintumor.config.settings import Settings
from tests.sql import rows

PAGE = Path(__file__).parents[2] / "docs" / "data-dictionary.md"
_LINE = re.compile(r"^\| \[`(\w+)`\]\(#\w+\) \| [^|]+ \| ([\w, ]+) \| [^|]+ \|$", re.MULTILINE)


def test_key_of_each_view_identifies_its_rows(filled: Settings) -> None:
    keys = _LINE.findall(PAGE.read_text(encoding="utf-8"))
    assert rows(filled, "select count(*) from pg_views where schemaname = 'braintumor'") == [(len(keys),)]
    for view, key in keys:
        repeated = rows(filled, f"select {key} from {view} group by {key} having count(*) > 1")
        assert repeated == [], view
