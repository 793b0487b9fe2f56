"""What a rescore changed, shown to people; and the command."""

from __future__ import annotations

import json
import re

import pytest

from braintumor.config.settings import Settings
from braintumor.labels import CLASSES
from tests.conftest import printed, run_braintumor
from tests.nights import remove
from tests.rescoring.conftest import opened, page, run, standing
from tests.sql import READERS, change, rows, say

GLIOMA, MENINGIOMA, NORMAL, PITUITARY = CLASSES

# What changed, shown


def test_the_page_shows_which_standing_answers_changed_worst_first_and_never_a_key(night: Settings) -> None:
    for scan_id, before, sure in (
        (1, GLIOMA, 0.90), (2, GLIOMA, 0.60), (3, NORMAL, 0.95), (4, PITUITARY, 0.98), (5, MENINGIOMA, 0.97),
        (6, NORMAL, 0.80),
    ):  # fmt: skip
        say(night, "prediction", scan_id, before, sure)
    job, number = opened(night, "manual__2026-11-24T15:54:21+00:00")
    job.score(number, 0)
    for scan_id, after, sure in (
        (1, MENINGIOMA, 0.99), (2, NORMAL, 0.55), (3, GLIOMA, 0.99), (4, NORMAL, 0.97), (5, PITUITARY, 0.99),
        (6, NORMAL, 0.70),
    ):  # fmt: skip
        say_in(night, number, scan_id, after.value, sure)
    remove(night, "surname-0.png")
    made = job.report(number, reports_url="https://airflow/braintumor/reports")
    shown = page(night, made)
    places = [shown.index(f"Scan {scan_id}: ") for scan_id in (4, 2, 3, 5, 1)]
    assert places == sorted(places) and "Scan 6" not in shown
    recorded = rows(night, "select scan_id from page_scan where page_uri = :page order by 1", page=made["page_uri"])
    assert recorded == [(1,), (2,), (3,), (4,), (5,)], "an erasure finds the page by these"
    assert "before: pituitary 0.980" in shown and "after: normal 0.970" in shown
    assert shown.count("data:image/jpeg;base64,") == 3 * 4 and "No picture: the object is gone" in shown
    assert "surname" not in shown and not re.search(r'(src|href)="(?!data:)', shown)
    assert "For review, not for diagnosis" in shown and "Asked for by ann: b errs" in shown
    assert "| pituitary | normal | 1 |" in made["markdown"]
    assert "5 of 6 answers changed (83.3%): 2 tumor to normal, 1 normal to tumor" in made["markdown"]
    path = "runs/manual__2026-11-24T15-54-21-00-00/rescore.html"
    assert f"(https://airflow/braintumor/reports/{path})" in made["markdown"] and made["page_uri"].endswith(path)


def say_in(settings: Settings, number: int, scan_id: int, label: str, sure: float) -> None:
    """Put an answer into the mouth of one run's model."""
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


def test_no_object_key_is_in_what_a_rescore_keeps_or_says(night: Settings) -> None:
    done = run(night)
    kept = [rows(night, f"select t::text from {table} t") for table in ("rescore", "rescore_run", "rescore_outcome")]
    assert kept[0] and "surname" not in str(kept) + str(done)
    assert ("current_prediction",) in rows(night, READERS, table="braintumor.rescore")


# The command


def test_a_rescore_takes_only_what_its_options_name(night: Settings, first: str) -> None:
    asked = ("rescore", "--predicted-by", "b", "--reason", "r", "--json")
    nothing = json.loads(printed(night, *asked, "--until", "2020-01-01", "--run-key", "before"))
    assert nothing["count_asked"] == 0
    limited = json.loads(printed(night, *asked, "--limit", "2", "--until", "2100-01-01T00:00:00", "--run-key", "two"))
    assert limited["count_asked"] == 2 and dict(standing(night))[first] == 2


@pytest.mark.soak
def test_the_command_offered_by_a_withdrawal_answers_the_scans(night: Settings, first: str) -> None:
    said = run_braintumor(night, "model", "withdraw", "b", "--reason", "again").stdout
    offered = 'braintumor rescore --predicted-by b --reason "its model was withdrawn"'
    assert offered in said
    done = run_braintumor(
        night, "rescore", "--predicted-by", "b", "--reason", "its model was withdrawn", "--since", "2020-01-01"
    )
    assert f"{first} answers 6 scans of 6 that were asked for. None of 6 answers changed." in done.stdout
    assert "rescore.html" in done.stdout and "run key" in done.stderr
    assert standing(night) == [(first, 6)]
    refused = run_braintumor(night, "rescore", "--model", "b", "--allow-non-champion", "--reason", "r", check=False)
    assert refused.returncode == 1 and "b was withdrawn" in refused.stderr
