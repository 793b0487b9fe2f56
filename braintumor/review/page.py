"""Render the HTML of the review page, with all text escaped and without inline scripts or styles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote, urlencode
from uuid import uuid4

from jinja2 import Environment
from sqlalchemy import Connection, Engine

from braintumor.db.database import transaction
from braintumor.errors import ConfigurationError
from braintumor.labels import CLASSES
from braintumor.reports.jinja import page_environment
from braintumor.reports.paths import RUN_STATUS, run_path
from braintumor.review.decisions import RetractedReview
from braintumor.review.finding import Finding, class_words, reason_words
from braintumor.review.session import (
    ReviewSession,
    find_open_session,
    find_session,
    next_item,
    previous_item,
    summarize_session,
)
from braintumor.review.shown_frame import Opinion, ShownFrame, read_frame
from braintumor.review.worklist import (
    AUDIT,
    PAGE_SIZE,
    Filters,
    Tab,
    WorklistItem,
    count_waiting,
    list_choices,
    list_worklist,
    neighbors,
)

_HERE = Path(__file__).parent
_Frame: TypeAlias = tuple[int, int]
"""Scan ID and frame index."""
_STATIC = {"review.css": "text/css", "review.js": "text/javascript"}


def static_file(name: str) -> tuple[bytes, str] | None:
    """Return the bytes of a static file and its media type, or ``None`` if there is no such file."""
    kind = _STATIC.get(name)
    return None if kind is None else ((_HERE / "static" / name).read_bytes(), kind)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Hold the user of a request, the user's permission to review, and the URL path of the app (``base``)."""

    person: str
    is_reviewer: bool
    base: str


def worklist_page(
    engine: Engine, filters: Filters, caller: Caller, *, number: int, threshold: float | None = None
) -> str:
    """Return one page of the worklist as HTML.

    ``number`` is the number of the page, from 0. ``threshold`` is the tumor probability down to which the site reads.
    It gets a tab.
    """
    begin = number * PAGE_SIZE
    listed = list_worklist(engine, filters, person=caller.person, count=begin + PAGE_SIZE + 1)
    choices = list_choices(engine)
    with transaction(engine) as connection:
        open_session = find_open_session(connection, person=caller.person)
    return _render(
        "worklist.html",
        base=caller.base,
        listed=listed[begin : begin + PAGE_SIZE],
        is_last=len(listed) <= begin + PAGE_SIZE,
        has_audit=bool(list_worklist(engine, AUDIT, person=caller.person, count=1)),
        counts=count_waiting(engine, filters, person=caller.person),
        open_session=open_session,
        filters=filters,
        tabs=Tab,
        query=filter_query(filters),
        choices={
            "day": [(day.isoformat(), day.isoformat()) for day in choices.days],
            "class": [(name.value, class_words(name.value)) for name in CLASSES],
            "model": [(name, name) for name in choices.models],
        },
        chosen=_chosen(filters),
        number=number,
        threshold=threshold,
        is_reviewer=caller.is_reviewer,
    )


def frame_page(
    engine: Engine,
    frame: _Frame,
    caller: Caller,
    *,
    filters: Filters,
    session_id: int | None = None,
    viewer_url: str | None = None,
) -> str:
    """Return the page of one frame (scan ID, frame index) as HTML, in a review session or from the worklist.

    Outside a session, the links to the previous and the next frame use ``filters``. ``viewer_url`` is the URL of an
    image viewer. The function replaces ``{study}`` in this URL by the study's pseudonym.

    Raises:
        ReviewError: there is no such frame, or the person has no such session.
        ConfigurationError: ``viewer_url`` is not allowed.
    """
    (scan_id, frame_index), person = frame, caller.person
    with transaction(engine) as connection:
        shown = read_frame(
            connection, scan_id=scan_id, frame_index=frame_index, person=person, is_reviewer=caller.is_reviewer
        )
        session, before, after = _queue(connection, frame, filters, session_id=session_id, person=person)
    own = next((each for each in shown.reviews if each.reviewer == person and each.retracted_at is None), None)
    sees_all = own is not None or shown.is_conflict or not caller.is_reviewer  # a second reading is independent
    query, end = _way(session_id, filters)
    return _render(
        "frame.html",
        base=caller.base,
        shown=shown,
        bars=_bars(shown),
        findings=list(Finding),
        session=session,
        state={
            "scan": scan_id,
            "frame": frame_index,
            "model": shown.model_version_id,
            "session": session_id,
            "request_key": uuid4().hex,
            "end": end,
            "is_reviewer": caller.is_reviewer,
            "opinion": None if shown.opinion is None else shown.opinion.predicted_class,
            "before": None if before is None else frame_url(*before, query),
            "after": None if after is None else frame_url(*after, query),
            "slices": [list(each) for each in shown.slices],
        },
        own=own,
        reviews=[each for each in shown.reviews if sees_all or each.reviewer == person],
        viewer=_viewer(viewer_url, shown.study_pseudonym),
        query=query,
        end=end,
        is_reviewer=caller.is_reviewer,
    )


def url_after_undo(engine: Engine, retracted: RetractedReview, caller: Caller, filters: Filters) -> str:
    """Return the URL of the frame whose review was retracted, or of the next frame if its file was overwritten.

    Outside a session, the next frame is that of the worklist with ``filters``. Without a next frame, the URL is that of
    the summary of the session, or of the worklist. It is relative to the root of the app.
    """
    session_id, frame = retracted.session_id, (retracted.scan_id, retracted.frame_index)
    query, end = _way(session_id, filters)
    if not retracted.is_replaced:
        return frame_url(*frame, query)
    with transaction(engine) as connection:
        _, _, after = _queue(connection, frame, filters, session_id=session_id, person=caller.person)
    return end if after is None else frame_url(*after, query)


def session_page(engine: Engine, session_id: int, caller: Caller) -> str:
    """Return the summary of the person's session as HTML. Raises ``ReviewError`` if the person has no such session."""
    with transaction(engine) as connection:
        session = find_session(connection, session_id, person=caller.person)
        summary = summarize_session(connection, session_id)
        left = next_item(connection, session_id)
    return _render(
        "session.html", base=caller.base, session=session, summary=summary, left=left, query=f"session={session_id}"
    )


def dashboard_page(engine: Engine, *, base: str, has_reports: bool = False, threshold: float | None = None) -> str:
    """Return the dashboard as HTML. ``base`` is the URL path of the app in Airflow.

    If ``has_reports`` is true, the nightly runs link to their run reports. ``threshold`` is the tumor probability down
    to which the site reads. Its row is marked.
    """
    from braintumor.live_accuracy.monitor import ALARM
    from braintumor.review.dashboard import load_dashboard  # imports numpy and scipy, which the worklist does not need

    board = load_dashboard(engine)
    tallest = max([1, *(run.count_scored + run.count_rejected for run in board.runs)])
    classes = [name.value for name in CLASSES]
    return _render(
        "dashboard.html",
        base=base,
        board=board,
        tallest=tallest,
        classes=classes,
        has_reports=has_reports,
        threshold=threshold,
        alarm=ALARM,
    )


def frame_url(scan_id: int, frame_index: int, query: str = "") -> str:
    """Return the URL of a frame's page, relative to the root of the app."""
    return f"frame/{scan_id}/{frame_index}" + (f"?{query}" if query else "")


def session_url(session_id: int) -> str:
    """Return the URL of the summary of a session, relative to the root of the app."""
    return f"session/{session_id}"


def filter_query(filters: Filters) -> str:
    """Return the filters as a URL query."""
    return urlencode({name: value for name, value in _chosen(filters).items() if value})


def _way(session_id: int | None, filters: Filters) -> tuple[str, str]:
    """Return the query of the URLs of frames, and the URL of the page behind the last frame."""
    if session_id is not None:
        return f"session={session_id}", session_url(session_id)
    query = filter_query(filters)
    return query, f"?{query}"


def _queue(
    connection: Connection, frame: _Frame, filters: Filters, *, session_id: int | None, person: str
) -> tuple[ReviewSession | None, _Frame | None, _Frame | None]:
    """Return the session and the frames before and after ``frame`` in it, or ``None`` and those of the worklist."""
    if session_id is None:
        scan_id, frame_index = frame
        return None, *neighbors(connection, filters, person=person, scan_id=scan_id, frame_index=frame_index)
    session = find_session(connection, session_id, person=person)
    return session, previous_item(connection, session_id, before=frame), next_item(connection, session_id, after=frame)


def _chosen(filters: Filters) -> Mapping[str, str]:
    return {
        "tab": "" if filters.tab is Tab.WAITING else filters.tab.value,
        "day": filters.day.isoformat() if filters.day else "",
        "class": filters.predicted_class.value if filters.predicted_class else "",
        "model": filters.model or "",
        "reason": filters.reason.value if filters.reason else "",
        "tumor": "" if filters.tumor is None else str(filters.tumor),
    }


def _bars(shown: ShownFrame) -> list[dict[str, object]]:
    if shown.opinion is None:
        return []
    return [
        {
            "name": class_words(name.value),
            "probability": value,
            "is_first": name.value == shown.opinion.predicted_class,
        }
        for name, value in zip(CLASSES, shown.opinion.probabilities, strict=True)
    ]


def _viewer(address: str | None, study: str | None) -> str | None:
    if not address or not study:
        return None
    if not address.startswith(("https://", "http://")) or "{study}" not in address:
        raise ConfigurationError(
            "BRAINTUMOR_VIEWER_URL must begin with https:// or http:// and contain {study}, such as "
            f"https://viewer/studies/{{study}}. Received: {address!r}. Correct or unset it."
        )
    return address.replace("{study}", quote(study, safe=""))


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = page_environment(_HERE / "templates")
    environment.filters |= {
        "class_words": class_words, "reason_words": reason_words, "finding_words": _finding_words,
        "likely_classes": _likely_classes,
    }  # fmt: skip
    environment.globals |= {"frame_url": frame_url, "report_url": _report_url}
    return environment


def _likely_classes(shown: WorklistItem | Opinion) -> str:
    """Return the predicted class, and "or" with each other class of the prediction set."""
    others = [name for name in shown.prediction_set if name != shown.predicted_class]
    return " or ".join(class_words(name) for name in (shown.predicted_class, *others) if name)


def _report_url(run_key: str) -> str:
    """Return the URL of a run report, relative to the root of the app."""
    return f"../reports/{run_path(run_key, RUN_STATUS)}"


def _finding_words(name: str) -> str:
    return Finding(name).words
