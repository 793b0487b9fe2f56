"""Serve the reports of the retrain DAG in Airflow's navigation, for users who can see the runs of that DAG.

A flip preview shows production images, so its users must also see the runs of ``nightly_scoring``. The report of a
rescore is for users who can see the runs of ``nightly_scoring`` and ``rescore_history``. An evidence report has alarms
of scoring runs and names of approvers. So its users must also see the runs of ``nightly_scoring`` and the audit log of
``weekly_retrain``. The pages are in S3 next to the models. The routes return only these pages, and no other object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from airflow.plugins_manager import AirflowPlugin
from braintumor_common import EXCEPTION_HANDLERS, opened
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from pydantic import StringConstraints

if TYPE_CHECKING:
    from braintumor.evaluation.report.index_page import Reader
    from braintumor.s3 import S3Uri

_PREFIX = "/braintumor/reports"
_NAME = r"^[\w .+:-]+$"
_ModelName = Annotated[str, Path(max_length=200, pattern=_NAME)]
_ModelNames = Annotated[list[Annotated[str, StringConstraints(max_length=200, pattern=_NAME)]], Query(max_length=100)]
_may_read = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id="weekly_retrain"))
_may_see_production = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id="nightly_scoring"))
_may_read_rescores = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id="rescore_history"))
_may_see_people = Depends(requires_access_dag("GET", DagAccessEntity.AUDIT_LOG, param_dag_id="weekly_retrain"))
_is_signed_in = Depends(get_user)
_LOCKED = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
}

app = FastAPI(
    title="Brain-tumor model reports",
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
    exception_handlers=EXCEPTION_HANDLERS,
)


def _reader(user: GetUserDep) -> Reader:
    """Return which parts of the page of all models the user may see."""
    from braintumor.evaluation.report.index_page import Reader

    def may_get(dag_id: str, entity: DagAccessEntity) -> bool:
        details = DagDetails(id=dag_id)
        manager = get_auth_manager()
        return bool(manager.is_authorized_dag(method="GET", access_entity=entity, details=details, user=user))

    sees_scoring = may_get("nightly_scoring", DagAccessEntity.RUN)
    return Reader(
        sees_scoring=sees_scoring,
        sees_rescores=sees_scoring and may_get("rescore_history", DagAccessEntity.RUN),
        sees_people=may_get("weekly_retrain", DagAccessEntity.AUDIT_LOG),
    )


_ReaderDep = Annotated[Any, Depends(_reader)]


@app.get("/", dependencies=[_may_read])
def overview(reader: _ReaderDep) -> HTMLResponse:
    """Show all models, runs and snapshots, with links to their pages."""
    from braintumor.evaluation.report.index_page import overview_page

    _, engine, _ = opened()
    return HTMLResponse(overview_page(engine, reader), headers=_LOCKED)


@app.get("/compare", dependencies=[_may_read])
def compare(model: _ModelNames) -> HTMLResponse:
    """Compare the two models that were selected on the page of all models."""
    from braintumor.evaluation.report.compare_page import compare_page

    _, engine, _ = opened()
    return HTMLResponse(compare_page(engine, model), headers=_LOCKED)


@app.get("/dag/{dag_id}/run/{run_id:path}", dependencies=[_is_signed_in])
def of_dag_run(request: Request, dag_id: str, run_id: str) -> Response:
    """Redirect from a DAG run in Airflow to its report.

    Raises:
        HTTPException: the runs of this DAG have no report (404).
    """
    from braintumor.reports.paths import report_of_dag_run

    path = report_of_dag_run(dag_id, run_id)
    if path is None:
        raise HTTPException(
            404, f"The runs of {dag_id} have no report. Those of the DAGs that score and train have one."
        )
    return RedirectResponse(f"{request.scope['root_path'].rstrip('/')}/{path}", headers=_LOCKED)


@app.get("/docs/{name:path}.md", dependencies=[_is_signed_in])
def guide(name: str, find: Annotated[str, Query(max_length=100)] = "") -> Response:
    """Show a page of the folder ``docs``, such as the runbook or a decision.

    ``find`` is the text to find in the data dictionary.

    Raises:
        HTTPException: the page is not installed (404).
    """
    from braintumor_guides import guide_page

    page = guide_page(name, find=find)
    if page is None:
        raise HTTPException(
            404, f"The file docs/{name}.md is not next to the folder of the plugins. Read it in the repository."
        )
    return HTMLResponse(page, headers=_LOCKED)


@app.get("/model/{name}/report.html", dependencies=[_may_read])
def report(name: _ModelName) -> Response:
    """Show the report of a model."""
    return HTMLResponse(_model_file(name, "report.html"), headers=_LOCKED)


@app.get("/model/{name}/model_card.md", dependencies=[_may_read])
def card(name: _ModelName) -> Response:
    """Show the model card, at the path that the report links to."""
    return PlainTextResponse(_model_file(name, "model_card.md"), headers=_LOCKED)


@app.get("/model/{name}/evidence.html", dependencies=[_may_read, _may_see_production, _may_see_people])
def evidence(name: _ModelName) -> Response:
    """Show the evidence report of a model, for a change-control board."""
    return HTMLResponse(_model_file(name, "evidence.html", _NO_EVIDENCE), headers=_LOCKED)


@app.get("/model/{name}/evidence.json", dependencies=[_may_read, _may_see_production, _may_see_people])
def evidence_json(name: _ModelName) -> Response:
    """Return the evidence report as JSON."""
    return Response(_model_file(name, "evidence.json", _NO_EVIDENCE), media_type="application/json", headers=_LOCKED)


@app.get("/runs/{run}/comparison.html", dependencies=[_may_read])
def comparison(run: str) -> Response:
    """Show the comparison of all models of a run."""
    from braintumor.reports.paths import RUN_COMPARISON, run_path

    return _page(run_path(run, RUN_COMPARISON), "There is no comparison of this run: the task `gate` writes it.")


@app.get("/runs/{run}/flip_preview.html", dependencies=[_may_read, _may_see_production])
def flip_preview(run: str) -> Response:
    """Show the production predictions that a candidate would change."""
    from braintumor.reports.paths import FLIP_PREVIEW, run_path

    return _page(
        run_path(run, FLIP_PREVIEW),
        "There is no flip preview of this run: the task `preview` writes it after the gate has passed.",
    )


@app.get("/runs/{run}/rescore.html", dependencies=[_may_read_rescores, _may_see_production])
def rescore_report(run: str) -> Response:
    """Show the predictions that a rescore changed."""
    from braintumor.reports.paths import RESCORE_REPORT, run_path

    return _page(
        run_path(run, RESCORE_REPORT),
        "There is no report of this rescore: the task `report` writes it after scans were scored.",
    )


@app.get("/runs/{run}/morning.html", dependencies=[_may_see_production])
def run_report(run: str) -> Response:
    """Show the run report of a scoring run."""
    from braintumor.reports.paths import RUN_STATUS, run_path

    return _page(run_path(run, RUN_STATUS), "There is no run report of this run: the task `reconcile` writes it.")


@app.get("/snapshots/{snapshot}.html", dependencies=[_may_read])
def quality(snapshot: str) -> Response:
    """Show the quality report of a snapshot."""
    from braintumor.reports.paths import snapshot_path

    return _page(snapshot_path(snapshot), "There is no quality report of this snapshot: the task `snapshot` writes it.")


def _page(path: str, detail: str) -> Response:
    """Return a page in S3 as a response. ``path`` is relative to the prefix of the models.

    Raises:
        HTTPException: the page does not exist (404). The message is ``detail``.
    """
    from braintumor.s3 import S3Uri

    settings, _, _ = opened()
    return HTMLResponse(_read(S3Uri.parse_prefix(settings.require("models_uri")) / path, detail), headers=_LOCKED)


_NO_REPORT = "There is no report of this model yet: the task `evaluate` writes it."
_NO_EVIDENCE = "There is no evidence report of this model yet: `braintumor model evidence NAME` writes it."


def _model_file(name: str, file: str, detail: str = _NO_REPORT) -> bytes:
    """Return the bytes of a page from a model's folder in S3.

    Raises:
        HTTPException: the model or the page does not exist (404). The message is ``detail``.
    """
    from braintumor.errors import ModelIntegrityError
    from braintumor.registry.model_versions import find_model
    from braintumor.s3 import S3Uri

    _, engine, _ = opened()
    try:
        model = find_model(engine, name)
    except ModelIntegrityError as error:
        raise HTTPException(404, detail) from error
    return _read(S3Uri.parse(model.artifact_uri) / file, detail)


def _read(uri: S3Uri, detail: str) -> bytes:
    from braintumor.errors import ObjectMissingError

    _, _, store = opened()
    try:
        return store.read(uri)
    except ObjectMissingError as error:
        raise HTTPException(404, detail) from error


class BrainTumorReports(AirflowPlugin):
    """Mount the app of the reports, and add it to Airflow's navigation."""

    name = "braintumor_reports"
    fastapi_apps = [{"app": app, "url_prefix": _PREFIX, "name": "Brain-tumor reports"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Brain-tumor models",
            "href": f"{_PREFIX}/",  # without a `url_route`, Airflow opens a tab and not a frame, so that links work
            "destination": "nav",
            "category": "browse",
        },
        {
            "name": "Report",
            "href": f"{_PREFIX}/dag/{{DAG_ID}}/run/{{RUN_ID}}",
            "url_route": "braintumor-report",
            "destination": "dag_run",
        },
    ]
