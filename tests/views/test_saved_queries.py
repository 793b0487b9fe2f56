"""Test the result of each saved query on the data set of ``predictions.sql``."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from braintumor.config.settings import Settings
from braintumor.db import database, saved_queries
from braintumor.errors import QueryError
from tests.conftest import invoke, printed
from tests.documents import blocks
from tests.sql import change, rows

PAGE = Path(__file__).parents[2] / "docs" / "pandas.md"
NAMES = [query.name for query in saved_queries.queries()]
NOT_ASSESSED = (
    "fewer than 20 scans: not assessed; fewer than 20 predictions: classes not assessed; fewer than 100 predictions in "
    "one period: drift not assessed; fewer than 20 audited patients: accuracy not assessed"
)
DUPLICATE_REASONS = ["not_validated_on_volumes", "same_content_other_patient"]

RESULTS: dict[str, list[tuple[Any, ...]]] = {
    "audit-sample": [(1, 1, 1, 0, 0), (2, 2, 2, 0, 0)],
    "class-mix": [
        ("old", "glioma", 1, 0.25),
        ("old", "meningioma", 1, 0.25),
        ("old", "normal", 2, 0.5),
        ("new", "glioma", 4, 0.3636),
        ("new", "meningioma", 1, 0.0909),
        ("new", "normal", 4, 0.3636),
        ("new", "pituitary", 2, 0.1818),
    ],
    "calibration": [("new", 0.9, 2, 0.975, 0.5, 0.0945, 0.9055), ("old", 0.9, 1, 0.99, 1.0, 0.2065, 1.0)],
    "confusion-with-reviewers": [
        ("new", "glioma", "glioma", 1),
        ("new", "glioma", "normal", 1),
        ("new", "meningioma", "glioma", 1),
        ("old", "normal", "normal", 2),
    ],
    "corrected-scans": [(6, 0, "new", "glioma", 0.62, "meningioma", 2), (7, 0, "new", "normal", 0.98, "glioma", 1)],
    "drift": [
        ("old", "test split", 4, 200, None, None),
        ("old", "weeks before", 4, 0, None, None),
        ("new", "test split", 11, 200, None, None),
        ("new", "weeks before", 11, 0, None, None),
    ],
    "changes-after-promotion": [
        ("old", "meningioma", "new", "pituitary", 1),
        ("old", "normal", "new", "meningioma", 1),
    ],
    "gliomas-last-week": [(0.6, 1, 1), (0.8, 1, 1), (0.9, 2, 2)],
    "live-accuracy": [
        ("scan", None, "new", 0.9, 0.8, 0.95, None, 60, 55, 50, 3, 2, 1.5),
        ("predicted class", "glioma", "new", None, None, None, "few", 9, 9, 9, 0, 0, 1.5),
        ("finding", "glioma", "new", 0.8, 0.6, 0.9, None, None, None, 25, None, None, 1.5),
    ],
    "missed-tumors": [(7, 0, "new", 0.98, "glioma", "audit", True)],
    "model-history": [("promote", "old", "eve", "the first", True), ("promote", "new", "eve", "the first", True)],
    "model-disagreement": [
        (2, 0, "new", "meningioma", "old", "normal"),
        (3, 0, "new", "pituitary", "old", "meningioma"),
    ],
    "models": [
        ("s", "new", "vgg16", 200, 0.9, 0.7, 0.95, True, False),
        ("s", "old", "vgg16", 200, 0.8, 0.7, 0.95, False, False),
    ],
    "run-balances": [
        (1, "first night", 4, 4, 0, 0, 0, 0, 0, 0, 0),
        (3, "last night", 7, 6, 0, 1, 0, 0, 0, 0, 0),
    ],
    "reviewers-in-conflict": [(3, 0, "ann", "pituitary"), (3, 0, "bob", "meningioma")],
    "rejections": [("no_pixel_data", 1)],
    "reviewers": [("ann", 5, 20, 4, 1), ("bob", 4, 13, 2, 0)],
    "second-opinion": [(6, 0, "new", "glioma", 0.62, "normal", 0.6)],
    "subgroups": [
        ("device model", "skyra", 1, 0, None, None, None, 0, None, None, None, NOT_ASSESSED),
        ("manufacturer", "ge", 2, 1, None, None, None, 0, None, None, None, NOT_ASSESSED),
        ("manufacturer", "siemens", 1, 0, None, None, None, 0, None, None, None, NOT_ASSESSED),
    ],
    "suspicious-studies": [("study 2", "pituitary", 1, 0.96, 10, 0), ("study 1", "normal", 3, 0.95, 9, 1)],
    "cross-patient-duplicates": [(9, 10)],
    "out-of-distribution": [(8, 0, "new", 0.8, "normal", 0.9)],
    "waiting-times": [
        ("glioma", 4, 2, 2, 24),
        ("meningioma", 1, 1, 2, 768),
        ("normal", 6, 4, 2, 204),
        ("pituitary", 1, 0, 2, None),
    ],
    "worklist-by-risk": [
        (1, "same_content_other_patient", 4),
        (2, "reviewers_disagree", 1),
        (3, "out_of_distribution", 1),
        (8, "tumor", 1),
    ],
    "worklist-first": [
        (9, 1, "same_content_other_patient", "glioma", 0.85, DUPLICATE_REASONS),
        (10, 0, "same_content_other_patient", "pituitary", 0.88, DUPLICATE_REASONS[1:]),
        (9, 2, "same_content_other_patient", "normal", 0.8, DUPLICATE_REASONS),
        (9, 0, "same_content_other_patient", "normal", 0.9, DUPLICATE_REASONS),
        (3, 0, "reviewers_disagree", "pituitary", 0.7, ["several_classes"]),
        (8, 0, "out_of_distribution", "normal", 0.9, ["out_of_distribution"]),
        (1, 0, "tumor", "glioma", 0.91, []),
    ],
}
"""Without dates, which depend on the current day."""


def test_scan_rejected_in_two_runs_counts_once(filled: Settings) -> None:
    again = "insert into rejection select scan_id, 1, reason, detail, rejected_at - interval '1 day' from rejection"
    change(filled, again)
    engine = database.connect(filled)
    ((reason, count, _),) = saved_queries.run_query(engine, "rejections").rows
    engine.dispose()
    assert (reason, count) == ("no_pixel_data", 1)


def test_every_saved_query_has_a_result_here() -> None:
    assert sorted(RESULTS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_query_returns_its_result(filled_to_read: Settings, name: str) -> None:
    engine = database.connect(filled_to_read)
    result = saved_queries.run_query(engine, name).rows
    engine.dispose()
    without_dates = [tuple(cell for cell in row if not isinstance(cell, date | datetime)) for row in result]
    rounded = [tuple(round(cell, 4) if isinstance(cell, float) else cell for cell in row) for row in without_dates]
    assert rounded == RESULTS[name]
    assert saved_queries.find_query(name).question.endswith(("?", "."))


def test_calibration_weights_scans_by_their_selection(filled: Settings) -> None:
    """Of two scans, the one with a wrong prediction stands for 5 scans, and the other one for 50."""
    change(filled, "update scan set audit_probability = 0.2 where scan_id = 7")
    engine = database.connect(filled)
    of_new = saved_queries.run_query(engine, "calibration").rows[0]
    engine.dispose()
    assert of_new[4] == pytest.approx(50 / 55)
    assert of_new[5] < 0.3 and 0.99 < of_new[6] < 1, "an effective number of 1.2 scans"


def test_saved_queries_read_views_only(filled: Settings) -> None:
    for number, name in enumerate(NAMES):
        rows(filled, f"create view asked_{number} as {saved_queries.find_query(name).sql}")
    read = rows(
        filled,
        """
        select query_view.relname, pg_class.relkind::text
        from pg_depend
        join pg_rewrite on pg_rewrite.oid = pg_depend.objid
        join pg_class as query_view on query_view.oid = pg_rewrite.ev_class
        join pg_class on pg_class.oid = pg_depend.refobjid
        where query_view.relname like 'asked%' and pg_class.oid <> query_view.oid""",
    )
    assert len({query_view for query_view, _ in read}) >= len(NAMES) - 1  # one reads a function only
    assert {kind for _, kind in read} == {"v"}


def test_only_pseudonyms_of_subgroups_are_shortened(filled: Settings) -> None:
    change(
        filled, "update scan set sequence_family = 'T1 with contrast', site_pseudonym = repeat('0123456789abcdef', 2)"
    )
    engine = database.connect(filled)
    found = {tuple(row[:2]) for row in saved_queries.run_query(engine, "subgroups").rows}
    engine.dispose()
    assert found >= {("sequence family", "T1 with contrast"), ("site", "01234567")}


def test_a_saved_query_cannot_change_rows(filled: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "bad.sql").write_text("-- Change?\nupdate review set finding = 'normal'")
    monkeypatch.setattr(saved_queries, "sql_folder", lambda: tmp_path)
    engine = database.connect(filled)
    with pytest.raises(database.DatabaseError, match="read-only transaction"):
        saved_queries.run_query(engine, "bad")
    engine.dispose()


def test_an_unknown_saved_query_lists_the_known_ones() -> None:
    with pytest.raises(QueryError, match=r"no saved query 'gliomas'. Saved queries: .*gliomas-last-week"):
        saved_queries.find_query("gliomas")


# The command and the page


def test_the_command_lists_the_saved_queries(filled_to_read: Settings) -> None:
    listed = printed(filled_to_read, "query")
    assert all(name in listed for name in NAMES) and "How many frames scored last week" in listed


def test_the_command_prints_tables_csv_and_json(filled_to_read: Settings) -> None:
    assert "reviewers_disagree" in printed(filled_to_read, "query", "worklist-first")
    first, *_ = csv.DictReader(io.StringIO(printed(filled_to_read, "query", "worklist-first", "--csv")))
    assert (first["scan_id"], first["review_reasons"]) == ("9", " ".join(DUPLICATE_REASONS))
    first, *_ = json.loads(printed(filled_to_read, "query", "gliomas-last-week", "--json"))
    assert first == {"confidence_from": 0.6, "count_frame": 1, "count_scan": 1}


def test_the_command_writes_parquet(filled_to_read: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "first.parquet"
    assert printed(filled_to_read, "query", "worklist-first", "--parquet", str(file)) == f"7 rows in {file}\n"
    read = pd.read_parquet(file)
    assert (read["scan_id"][0], list(read["review_reasons"][0])) == (9, DUPLICATE_REASONS)
    monkeypatch.setattr(saved_queries, "find_spec", lambda _name: None)
    done = invoke(filled_to_read, "query", "worklist-first", "--parquet", str(file))
    assert done.exit_code == 1 and "pip install pyarrow" in done.stderr


def test_the_code_of_the_pandas_page_runs(filled_to_read: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in filled_to_read.to_environment().items():
        monkeypatch.setenv(name, value)
    code = blocks(PAGE.read_text(encoding="utf-8"), "python")
    names: dict[str, Any] = {}
    exec("\n".join(code), names)
    assert list(names["gliomas"]["confidence_from"]) == [0.6, 0.8, 0.9]
    assert names["total"].to_dict() == {"glioma": 4, "normal": 5, "meningioma": 1, "pituitary": 2}
    assert names["by_week"].sum() == len(names["predictions"]) == 12
    assert tuple(names["frames_and_scans"].loc["normal"]) == (5, 4)
    assert names["confusion"].loc["glioma", "normal"] == 1
