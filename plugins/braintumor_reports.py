"""Serve the reports of the retrain DAG in Airflow's navigation, for users who can see the runs of that DAG.

A flip preview shows production images, so its users must also see the runs of the nightly DAG. A rescore's report is
for users who can see the runs of both scoring DAGs. The pages are in S3 next to the models. The routes return pages and
never serve files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.plugins_manager import AirflowPlugin
from braintumor_common import EXCEPTION_HANDLERS, opened
from fastapi import Depends, FastAPI, HTTPException, Path
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

if TYPE_CHECKING:
    from braintumor.s3 import S3Uri

_PREFIX = "/braintumor/reports"
_ModelName = Annotated[str, Path(max_length=200, pattern=r"^[\w .+:-]+$")]
_may_read = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id="weekly_retrain"))
_may_see_production = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id="nightly_scoring"))
_may_read_rescores = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id="rescore_history"))
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


@app.get("/", dependencies=[_may_read])
def overview() -> HTMLResponse:
    """Show all models, runs and snapshots, with links to their pages."""
    from braintumor.evaluation.report.index_page import overview_page

    _, engine, _ = opened()
    return HTMLResponse(overview_page(engine), headers=_LOCKED)


@app.get("/model/{name}/report.html", dependencies=[_may_read])
def report(name: _ModelName) -> Response:
    """Show the report of a model."""
    return HTMLResponse(_model_file(name, "report.html"), headers=_LOCKED)


@app.get("/model/{name}/model_card.md", dependencies=[_may_read])
def card(name: _ModelName) -> Response:
    """Show the model card, at the path that the report links to."""
    return PlainTextResponse(_model_file(name, "model_card.md"), headers=_LOCKED)


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
def morning(run: str) -> Response:
    """Show the run report of a scoring run."""
    from braintumor.reports.paths import RUN_STATUS, run_path

    return _page(run_path(run, RUN_STATUS), "There is no run report of this run: the task `reconcile` writes it.")


@app.get("/snapshots/{snapshot}.html", dependencies=[_may_read])
def quality(snapshot: str) -> Response:
    """Show the quality report of a snapshot."""
    from braintumor.reports.paths import snapshot_path

    return _page(snapshot_path(snapshot), "There is no quality report of this snapshot: the task `snapshot` writes it.")


def _page(path: str, detail: str) -> Response:
    """Return a page below the models' prefix in S3. ``path`` is relative to that prefix.

    Raises:
        HTTPException: the page does not exist (404). The message is ``detail``.
    """
    from braintumor.s3 import S3Uri

    settings, _, _ = opened()
    return HTMLResponse(_read(S3Uri.parse_prefix(settings.require("models_uri")) / path, detail), headers=_LOCKED)


def _model_file(name: str, file: str) -> bytes:
    """Return the bytes of a page from a model's folder in S3.

    Raises:
        HTTPException: the model or the page does not exist (404).
    """
    from braintumor.errors import ModelIntegrityError
    from braintumor.registry.model_versions import find_model
    from braintumor.s3 import S3Uri

    detail = "There is no report of this model yet: the task `evaluate` writes it."
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
            "href": f"{_PREFIX}/",
            "url_route": "braintumor-reports",
            "destination": "nav",
            "category": "browse",
        }
    ]
