"""Check that every alert has its section in docs/runbook.md and names it, and that the page's commands work."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.errors import NoChampionError, RedRunError
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.scoring.run_report import rules
from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.scoring.run_report.status import Alert
from tests.conftest import Put
from tests.documents import blocks, run_block
from tests.images import png
from tests.runs import add_past_runs
from tests.sql import change, rows

PROJECT = Path(__file__).parent.parent
PAGE = (PROJECT / "docs" / "runbook.md").read_text()
ALERTS, GROWTH = PAGE.split("\n# Growth of the database\n")
SECTIONS = {part.partition("\n")[0]: part for part in ALERTS.split("\n## ")[1:]}


def events() -> set[str]:
    """Return the values of the enumeration from the source, because importing the module needs Airflow's settings."""
    tree = ast.parse((PROJECT / "dags" / "notifications.py").read_text())
    (enum,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Event"]
    return {
        node.value.value for node in enum.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }


def test_sections_of_the_runbook_equal_the_alerts() -> None:
    assert {"failed", "late", "refused"} < events()
    assert set(SECTIONS) == events() | set(Alert) | {"no_champion"}


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_has_means_look_and_do(name: str) -> None:
    positions = [SECTIONS[name].index(word) for word in ("**Means.**", "**Look.**", "**Do.**")]
    assert positions == sorted(positions)


def test_anchors_in_docs_have_headings() -> None:
    pages = {path: path.read_text() for path in [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]}
    for path, text in pages.items():
        for target, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", text):
            headings = re.findall(
                r"^#+ (.+)$", pages[(path.parent / target).resolve() if target else path], flags=re.MULTILINE
            )
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{path.relative_to(PROJECT)}: {target}#{anchor}"


def test_red_run_and_missing_champion_name_their_sections(settings: Settings, empty_settings: Settings) -> None:
    add_past_runs(settings, dict.fromkeys(range(1, 8), 140))
    with pytest.raises(RedRunError, match=r"What to do: docs/runbook.md#nothing_arrived\."):
        run_scoring_job(settings, run_key="night")
    with pytest.raises(NoChampionError, match=r"docs/runbook.md#no_champion"):
        run_scoring_job(empty_settings, run_key="night")


def test_full_disk_is_amber_and_names_its_section(settings: Settings, put: Put, tmp_path: Path) -> None:
    put("a.png", png())
    packaged = Path(rules.__file__).with_name("run_report.toml").read_text()
    (tmp_path / "rules.toml").write_text(
        re.sub("amber_free_disk_gib = .*", "amber_free_disk_gib = 1000000000", packaged)
    )
    assert RunReportRules.load().amber_free_disk_gib == 2
    job, messages = ScoringJob.open(replace(settings, run_report_rules=str(tmp_path / "rules.toml"))), list[str]()
    run, _ = job.begin(run_key="scoring")
    for chunk in job.plan(run.scoring_run_id):
        job.score(run.scoring_run_id, chunk)
    job.reconcile(run.scoring_run_id, progress=messages.append)
    assert "AMBER" in messages[0] and "What to do: docs/runbook.md#disk_low" in messages[0]
    ((level, reasons),) = rows(settings, "select level::text, reasons from scoring_run_summary")
    assert level == "amber" and len(reasons) == 1 and "GiB are free" in reasons[0]


def test_vacuum_and_deletion_commands_of_the_page_work(settings: Settings, put: Put, tmp_path: Path) -> None:
    (vacuum,) = blocks(GROWTH, "sh")
    run_block(vacuum, settings, tmp_path)
    statement = "select count(*) from pg_class where reloptions::text like '%autovacuum%scale_factor%'"
    assert rows(settings, statement) == [(3,)]
    put("a.png", png())
    run_scoring_job(settings, run_key="old")
    change(settings, "update scoring_run set finished_at = now() - interval '2 years'")
    (prune,) = [query for query in blocks(GROWTH, "sql") if "delete" in query]
    assert rows(settings, prune) == [(1,)]
    balance = run_scoring_job(settings, run_key="new")
    assert (balance.count_seen, balance.count_known, balance.count_scored) == (1, 1, 0)
    assert rows(settings, "select count_seen, count_scored from scoring_run where run_key = 'old'") == [(1, 1)]
