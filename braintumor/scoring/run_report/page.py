"""Render the run report as an HTML page in Airflow, and as text for a terminal or a task log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.reports.jinja import page_environment
from braintumor.reports.paths import RUN_STATUS, run_path
from braintumor.scoring.run_report.status import RunStatus, facts

SHOWN_SCANS = 20
"""Largest number of scans that a report names for one rejection reason."""
_DAG = "nightly_scoring "
"""Beginning of the run key of a run that the DAG made. The ID of the DAG run follows."""


@dataclass(frozen=True, kw_only=True)
class RejectedScans:
    """Hold the number of scans that a run rejected for one reason, and the IDs of the first ``SHOWN_SCANS`` of them."""

    reason: RejectionReason
    count: int
    scan_ids: tuple[int, ...]

    @property
    def scans(self) -> str:
        """Return the scan IDs as text, such as ``4, 7, 9`` or ``1, 2 and 30 more``."""
        more = self.count - len(self.scan_ids)
        return ", ".join(map(str, self.scan_ids)) + (f" and {more:,} more" if more else "")


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """Hold the content of the run report.

    Attributes:
        started_at: start of the run, in the timezone of the schedule.
        previous_key: run key of the previous scoring run with a report. It is empty if there is no such run.
        rejections: the rejections of the run, the most frequent reason first.
    """

    status: RunStatus
    started_at: datetime
    previous_key: str
    rejections: tuple[RejectedScans, ...]

    @property
    def title(self) -> str:
        """Return the ID, the start and the level of the run as text."""
        return f"Run {self.status.run.scoring_run_id}, {self.started_at:%Y-%m-%d %H:%M %Z}: {self.status.level.upper()}"

    @property
    def scan_ids(self) -> set[int]:
        """Return the IDs of the scans that the report names."""
        return {scan_id for rejected in self.rejections for scan_id in rejected.scan_ids}

    @property
    def dag_run(self) -> str:
        """Return the path of the DAG run in Airflow, or an empty text if ``braintumor score`` made the run."""
        key = self.status.run.run_key
        return f"dags/{_DAG.strip()}/runs/{quote(key.removeprefix(_DAG), safe='')}" if key.startswith(_DAG) else ""

    @property
    def previous(self) -> str:
        """Return the path of the previous run's report below the reports page, or an empty text without such a run."""
        return run_path(self.previous_key, RUN_STATUS) if self.previous_key else ""


def make_run_report(engine: Engine, status: RunStatus, *, timezone: str) -> RunReport:
    """Return the report of a run whose ``status`` is already stored. The start of the run is in ``timezone``."""
    values = {"run": status.run.scoring_run_id, "shown": SHOWN_SCANS}
    with transaction(engine) as connection:
        started_at = connection.execute(text(_STARTED_AT), values).scalar_one()
        previous_key = connection.scalar(text(_PREVIOUS_KEY), values)
        rows = connection.execute(text(_REJECTED), values).all()
    return RunReport(
        status=status,
        started_at=started_at.astimezone(ZoneInfo(timezone)),
        previous_key=previous_key or "",
        rejections=tuple(
            RejectedScans(reason=RejectionReason(row.reason), count=row.count_scan, scan_ids=tuple(row.scan_ids))
            for row in rows
        ),
    )


def to_text(report: RunReport, *, address: str = "") -> str:
    """Return the run report as plain text, with the URL ``address`` of the page."""
    status = report.status
    lines = [report.title, f"{status.balance}."]
    lines += [f"{reason.level}: {reason.message} What to do: {reason.section}" for reason in status.reasons]
    lines += [f"rejected, {r.reason}: {r.count:,} (scans {r.scans}). {r.reason.remedy}" for r in report.rejections]
    lines += [f"{name}: {value}" for name, value in facts(status)]
    return "\n".join([*lines, f"The run report: {address}"] if address else lines)


def run_report_page(report: RunReport) -> str:
    """Render the page of the run report."""
    template = page_environment(Path(__file__).with_name("templates")).get_template("run_status.html")
    return template.render(report=report, facts=facts(report.status))


_STARTED_AT = "select started_at from scoring_run where scoring_run_id = :run"

_PREVIOUS_KEY = """
    select run_key
    from scoring_run_summary
    join scoring_run using (scoring_run_id)
    where scoring_run_id < :run
    order by scoring_run_id desc
    limit 1"""

_REJECTED = """
    select reason, count(*) as count_scan, (array_agg(scan_id order by scan_id))[1 : :shown] as scan_ids
    from rejection
    where scoring_run_id = :run
    group by reason
    order by count_scan desc, reason"""
