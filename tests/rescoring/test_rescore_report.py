"""Test the report of a rescore, and the command."""

from __future__ import annotations

import json
import re

import pytest

from braintumor.config.settings import Settings
from braintumor.labels import CLASSES
from tests.conftest import printed, run_braintumor
from tests.rescoring.conftest import current_predictions, opened, page, run
from tests.runs import remove
from tests.sql import READERS, change, rows, set_prediction

GLIOMA, MENINGIOMA, NORMAL, PITUITARY = CLASSES

# The page


def test_page_shows_worst_changes_first_without_keys(scored: Settings) -> None:
    for scan_id, before, sure in (
        (1, GLIOMA, 0.90), (2, GLIOMA, 0.60), (3, NORMAL, 0.95), (4, PITUITARY, 0.98), (5, MENINGIOMA, 0.97),
        (6, NORMAL, 0.80),
    ):  # fmt: skip
        set_prediction(scored, "prediction", scan_id, before, sure)
    job, number = opened(scored, "manual__2026-11-24T15:54:21+00:00")
    job.score(number, 0)
    for scan_id, after, sure in (
        (1, MENINGIOMA, 0.99), (2, NORMAL, 0.55), (3, GLIOMA, 0.99), (4, NORMAL, 0.97), (5, PITUITARY, 0.99),
        (6, NORMAL, 0.70),
    ):  # fmt: skip
        set_prediction_in(scored, number, scan_id, after.value, sure)
    remove(scored, "surname-0.png")
    made = job.report(number, reports_url="https://airflow/braintumor/reports")
    shown = page(scored, made)
    places = [shown.index(f"Scan {scan_id}: ") for scan_id in (4, 2, 3, 5, 1)]
    assert places == sorted(places) and "Scan 6" not in shown
    recorded = rows(scored, "select scan_id from page_scan where page_uri = :page order by 1", page=made["page_uri"])
    assert recorded == [(1,), (2,), (3,), (4,), (5,)], "an erasure finds the page by these"
    assert "before: pituitary 0.980" in shown and "after: normal 0.970" in shown
    assert shown.count("data:image/jpeg;base64,") == 3 * 4 and "No image: the object is gone" in shown
    assert "surname" not in shown and not re.search(r'src="(?!data:)', shown)
    assert set(re.findall(r'href="([^"]+)"', shown)) == {"../../"}
    assert "For review, not for diagnosis" in shown and "Requested by ann: b errs" in shown
    assert "5 of 6 predictions changed: 2 tumor to normal, 1 normal to tumor" in made["text"]
    path = "runs/manual__2026-11-24T15-54-21-00-00/rescore.html"
    assert f"The page with the images: https://airflow/braintumor/reports/{path}" in made["text"] and made[
        "page_uri"
    ].endswith(path)


def set_prediction_in(settings: Settings, number: int, scan_id: int, label: str, sure: float) -> None:
    """Set the prediction of a scan in one run."""
    change(
        settings,
        """
        update prediction set predicted_class = cast(:label as tumor_class), confidence = :sure,
            probability_glioma = case when :label = 'glioma' then :sure else (1 - :sure) / 3 end,
            probability_meningioma = case when :label = 'meningioma' then :sure else (1 - :sure) / 3 end,
            probability_normal = case when :label = 'normal' then :sure else (1 - :sure) / 3 end,
            probability_pituitary = case when :label = 'pituitary' then :sure else (1 - :sure) / 3 end
        where scoring_run_id = :run and scan_id = :scan""",
        label=label,
        sure=sure,
        run=number,
        scan=scan_id,
    )


def test_rescore_stores_and_prints_no_object_key(scored: Settings) -> None:
    done = run(scored)
    kept = [rows(scored, f"select t::text from {table} t") for table in ("rescore", "rescore_run", "rescore_outcome")]
    assert kept[0] and "surname" not in str(kept) + str(done)
    assert ("repeated_prediction",) in rows(scored, READERS, table="braintumor.rescore")


# The command


def test_options_restrict_the_selected_scans(scored: Settings, first: str) -> None:
    options = ("rescore", "--predicted-by", "b", "--reason", "r", "--json")
    nothing = json.loads(printed(scored, *options, "--until", "2020-01-01", "--run-key", "before"))
    assert nothing["count_asked"] == 0
    limited = json.loads(
        printed(scored, *options, "--limit", "2", "--until", "2100-01-01T00:00:00", "--run-key", "two")
    )
    assert limited["count_asked"] == 2 and dict(current_predictions(scored))[first] == 2


@pytest.mark.soak
def test_command_printed_by_a_withdrawal_rescores(scored: Settings, first: str) -> None:
    lines = run_braintumor(scored, "model", "withdraw", "b", "--reason", "again").stdout
    offered = 'braintumor rescore --predicted-by b --reason "its model was withdrawn"'
    assert offered in lines
    done = run_braintumor(
        scored, "rescore", "--predicted-by", "b", "--reason", "its model was withdrawn", "--since", "2020-01-01"
    )
    assert f"{first} has scored 6 scans of 6 that were requested. None of 6 predictions changed." in done.stdout
    assert "rescore.html" in done.stdout and "run key" in done.stderr
    assert current_predictions(scored) == [(first, 6)]
    refused = run_braintumor(scored, "rescore", "--model", "b", "--allow-non-champion", "--reason", "r", check=False)
    assert refused.returncode == 1 and "b was withdrawn" in refused.stderr
