"""Serve the review page in Airflow's navigation.

A user who can see the DAG ``braintumor_review`` can read the page. A user who can edit that DAG can save reviews. Each
route checks the user: an unknown user gets 401, a user without permission 403. Images are read from S3 at the scored
version, and decoded in the decoder pool, never in the api-server. No page, URL or log contains an object key.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.plugins_manager import AirflowPlugin
from braintumor_common import EXCEPTION_HANDLERS, opened
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from braintumor.review.page import Caller
    from braintumor.review.worklist import Filters

_PREFIX = "/braintumor/review"
_DAG = "braintumor_review"
_LOCKED = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'self'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
_MAX_BIGINT, _MAX_INTEGER = 2**63 - 1, 2**31 - 1
"""Largest values of the Postgres types ``bigint`` and ``integer``."""
_MAX_PAGES = 1000
"""Largest page number of the worklist, because a later page reads too many rows for one request."""
_Id = Annotated[int, Path(ge=1, le=_MAX_BIGINT)]
_FrameIndex = Annotated[int, Path(ge=0, le=_MAX_INTEGER)]
_SessionId = Annotated[int | None, Query(ge=1, le=_MAX_BIGINT)]
_ModelName = Annotated[str, Query(max_length=200, pattern=r"^[\w .+:-]*$")]
_may_read = Depends(requires_access_dag("GET", param_dag_id=_DAG))
_may_write = Depends(requires_access_dag("PUT", param_dag_id=_DAG))


def _json_only(request: Request) -> None:
    """Refuse a request that is not JSON, because a form of another site could send it with the user's cookie.

    Raises:
        HTTPException: the content type is not ``application/json`` (415).
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Send application/json.")


_writes = [_may_read, _may_write, Depends(_json_only)]
app = FastAPI(
    title="Brain-tumor review", docs_url=None, redoc_url=None, openapi_url=None, exception_handlers=EXCEPTION_HANDLERS
)


class NewReviewSession(BaseModel):
    """Hold the time budget of a new session in minutes."""

    model_config = ConfigDict(extra="forbid")
    minutes: int


class NewReview(BaseModel):
    """Hold a new decision of a reviewer about a frame. ``braintumor.review.decisions.ReviewDecision`` explains it."""

    model_config = ConfigDict(extra="forbid")
    request_key: str = Field(min_length=16, max_length=64, pattern=r"^[A-Za-z0-9-]+$")
    scan_id: int = Field(ge=1, le=_MAX_BIGINT)
    frame_index: int = Field(ge=0, le=_MAX_INTEGER)
    model_version_id: int = Field(ge=1, le=_MAX_BIGINT)
    finding: str
    session_id: int | None = Field(default=None, ge=1, le=_MAX_BIGINT)
    seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)


def _filters(
    *,
    day: str = "",
    tumor_class: Annotated[str, Query(alias="class")] = "",
    model: _ModelName = "",
    reason: str = "",
    tab: str = "",
    tumor: str = "",
) -> Filters:
    from braintumor.labels import TumorClass
    from braintumor.review.worklist import Filters, Tab
    from braintumor.serving.prediction import ReviewReason

    try:
        return Filters(
            tab=Tab(tab or Tab.WAITING),
            day=date.fromisoformat(day) if day else None,
            predicted_class=TumorClass(tumor_class) if tumor_class else None,
            model=model or None,
            reason=ReviewReason(reason) if reason else None,
            tumor=float(tumor) if tumor else None,
        )
    except ValueError as error:
        raise HTTPException(
            422,
            f"A filter in the address is not valid. Allowed: tab {', '.join(Tab)}; day YYYY-MM-DD; "
            f"class {', '.join(TumorClass)}; reason {', '.join(ReviewReason)}; tumor 0 to 1. Received: tab={tab!r}, "
            f"day={day!r}, class={tumor_class!r}, reason={reason!r}, tumor={tumor!r}. Correct it.",
        ) from error


def _caller(request: Request, user: GetUserDep) -> Caller:
    from braintumor.review.page import Caller

    return Caller(
        person=user.get_name(),
        is_reviewer=bool(get_auth_manager().is_authorized_dag(method="PUT", details=DagDetails(id=_DAG), user=user)),
        base=f"{request.scope['root_path'].rstrip('/')}/",
    )


_FiltersDep = Annotated[Any, Depends(_filters)]
_CallerDep = Annotated[Any, Depends(_caller)]


@app.get("/", dependencies=[_may_read])
def worklist(
    caller: _CallerDep, filters: _FiltersDep, page: Annotated[int, Query(ge=0, le=_MAX_PAGES)] = 0
) -> Response:
    """Show the scans that wait for a review, the riskiest first."""
    from braintumor.review.page import worklist_page

    settings, engine, _ = opened()
    threshold = settings.probability("reading_threshold")
    return _html(worklist_page(engine, filters, caller, number=page, threshold=threshold))


@app.get("/dashboard", dependencies=[_may_read])
def dashboard(caller: _CallerDep, user: GetUserDep) -> Response:
    """Show the dashboard of runs, predictions and agreement. It links to run reports if the user may see them."""
    from braintumor.review.page import dashboard_page

    has_reports = get_auth_manager().is_authorized_dag(
        method="GET", access_entity=DagAccessEntity.RUN, details=DagDetails(id="nightly_scoring"), user=user
    )
    settings, engine, _ = opened()
    threshold = settings.probability("reading_threshold")
    return _html(dashboard_page(engine, base=caller.base, has_reports=bool(has_reports), threshold=threshold))


@app.get("/session/{session_id}", dependencies=[_may_read])
def session_summary(caller: _CallerDep, session_id: _Id) -> Response:
    """Show the summary of one of the user's review sessions."""
    from braintumor.review.page import session_page

    _, engine, _ = opened()
    return _html(session_page(engine, session_id, caller))


@app.get("/frame/{scan_id}/{frame_index}", dependencies=[_may_read])
def frame(
    caller: _CallerDep, filters: _FiltersDep, scan_id: _Id, frame_index: _FrameIndex, session: _SessionId = None
) -> Response:
    """Show one frame for a review."""
    from braintumor.review.page import frame_page

    settings, engine, _ = opened()
    return _html(
        frame_page(
            engine, (scan_id, frame_index), caller, filters=filters, session_id=session, viewer_url=settings.viewer_url
        )
    )


@app.get("/image/{scan_id}/{frame_index}.png", dependencies=[_may_read])
def image(
    caller: _CallerDep,
    scan_id: _Id,
    frame_index: _FrameIndex,
    request_key: Annotated[str | None, Query(min_length=16, max_length=64, pattern=r"^[\w-]+$")] = None,
) -> Response:
    """Return a frame as PNG at full size, and record that the page received the image.

    ``request_key`` identifies the page. The record allows the reviewer to save a decision on that page.
    """
    from braintumor.review.shown_images import record_shown

    png = _frame_png(scan_id, frame_index)
    if request_key and caller.is_reviewer:
        _, engine, _ = opened()
        record_shown(engine, request_key=request_key, scan_id=scan_id, frame_index=frame_index, person=caller.person)
    return png


@app.get("/thumbnail/{scan_id}/{frame_index}.png", dependencies=[_may_read])
def thumbnail(scan_id: _Id, frame_index: _FrameIndex) -> Response:
    """Return a thumbnail of a frame as PNG for the worklist."""
    from braintumor.review.images import THUMBNAIL

    return _frame_png(scan_id, frame_index, size=THUMBNAIL)


@app.get("/map/{scan_id}/{frame_index}.png", dependencies=[_may_read])
def activation_map(caller: _CallerDep, scan_id: _Id, frame_index: _FrameIndex) -> Response:
    """Return the activation map of a frame as PNG.

    Raises:
        HTTPException: the prediction is hidden from the user until the user has decided (403).
    """
    from braintumor.db.database import transaction
    from braintumor.review.images import map_png
    from braintumor.review.shown_frame import is_blind

    _, engine, _ = opened()
    with transaction(engine) as connection:
        is_hidden = is_blind(
            connection, scan_id=scan_id, frame_index=frame_index, person=caller.person, is_reviewer=caller.is_reviewer
        )
    if is_hidden:
        raise HTTPException(403, "This frame is read blind. Decide first.")
    return Response(map_png(engine, scan_id=scan_id, frame_index=frame_index), media_type="image/png", headers=_LOCKED)


@app.get("/{name}", dependencies=[_may_read])
def static(name: str) -> Response:
    """Return the script or the style sheet of the review page.

    Raises:
        HTTPException: there is no file with this name (404).
    """
    from braintumor.review.page import static_file

    file = static_file(name)
    if file is None:
        raise HTTPException(404, "There is no such page.")
    return Response(file[0], media_type=file[1], headers=_LOCKED | {"Cache-Control": "private, max-age=60"})


@app.post("/sessions", dependencies=_writes)
def start(caller: _CallerDep, wanted: NewReviewSession) -> JSONResponse:
    """Start a review session, and return the URL of its first frame."""
    from braintumor.db.database import transaction
    from braintumor.review.page import frame_url
    from braintumor.review.session import next_item, start_session

    _, engine, _ = opened()
    session_id = start_session(engine, person=caller.person, minutes=wanted.minutes)
    with transaction(engine) as connection:
        first = next_item(connection, session_id)
    url = frame_url(*first, f"session={session_id}") if first else None
    return JSONResponse({"session": session_id, "next": url}, headers=_LOCKED)


@app.post("/reviews", dependencies=_writes)
def review(caller: _CallerDep, given: NewReview) -> JSONResponse:
    """Save a reviewer's decision, once per request key, if the page has received the frame's image.

    Raises:
        HTTPException: the finding is unknown (422), or the page has not received the image (409).
    """
    from braintumor.review.decisions import ReviewDecision, save_review
    from braintumor.review.finding import Finding
    from braintumor.review.shown_images import NOT_SHOWN, may_review

    if given.finding not in set(Finding):
        raise HTTPException(422, f"No such finding. Allowed: {', '.join(Finding)}.")
    decision = ReviewDecision(**(given.model_dump() | {"finding": Finding(given.finding)}))
    _, engine, _ = opened()
    if not may_review(engine, decision, person=caller.person):
        raise HTTPException(409, NOT_SHOWN)
    saved = save_review(engine, decision, person=caller.person)
    return JSONResponse({"review_id": saved.review_id, "is_blind": saved.is_blind}, headers=_LOCKED)


@app.post("/retractions", dependencies=_writes)
def retract(caller: _CallerDep, filters: _FiltersDep) -> JSONResponse:
    """Retract the user's last review, and return the URL of its frame, or of the next frame if this one is gone."""
    from braintumor.review.decisions import retract_review
    from braintumor.review.page import url_after_undo

    _, engine, _ = opened()
    retracted = retract_review(engine, person=caller.person)
    if retracted is None:
        return JSONResponse({"frame": None}, headers=_LOCKED)
    url = url_after_undo(engine, retracted, caller, filters)
    return JSONResponse({"frame": url, "is_replaced": retracted.is_replaced}, headers=_LOCKED)


def _frame_png(scan_id: int, frame_index: int, *, size: int = 0) -> Response:
    from braintumor.review.images import frame_png

    _, engine, store = opened()
    png = frame_png(engine, store, scan_id=scan_id, frame_index=frame_index, size=size)
    return Response(png, media_type="image/png", headers=_LOCKED)


def _html(page: str) -> HTMLResponse:
    return HTMLResponse(page, headers=_LOCKED)


class BrainTumorReview(AirflowPlugin):
    """Mount the app of the review page, and add it to Airflow's navigation."""

    name = "braintumor_review"
    fastapi_apps = [{"app": app, "url_prefix": _PREFIX, "name": "Brain-tumor review"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Brain-tumor review",
            "href": f"{_PREFIX}/",  # without a `url_route`, Airflow opens a tab. Keys and viewer links fail in a frame
            "destination": "nav",
            "category": "browse",
        }
    ]
