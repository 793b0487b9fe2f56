"""The reports of the retrain DAG, in Airflow's navigation: for who may see that DAG's runs, and for nobody else.

A flip preview shows images of production, so it is for who may see the runs of the nightly DAG too. So does the report
of a rescore, which is for who may see the runs of both DAGs that score. The pages lie in S3 beside the models. They are
streamed through these routes and never served as files.
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
    """Every model, run and snapshot, with links to their pages."""
    from braintumor.evaluation.report.index_page import overview_page

    _, engine, _ = opened()
    return HTMLResponse(overview_page(engine), headers=_LOCKED)


@app.get("/model/{name}/report.html", dependencies=[_may_read])
def report(name: _ModelName) -> Response:
    """One model's report."""
    return HTMLResponse(_beside(name, "report.html"), headers=_LOCKED)


@app.get("/model/{name}/model_card.md", dependencies=[_may_read])
def card(name: _ModelName) -> Response:
    """One model's card, where its report links to it."""
    return PlainTextResponse(_beside(name, "model_card.md"), headers=_LOCKED)


@app.get("/runs/{run}/comparison.html", dependencies=[_may_read])
def comparison(run: str) -> Response:
    """All models of a run beside each other."""
    from braintumor.reports.paths import RUN_COMPARISON, run_path

    return _page(run_path(run, RUN_COMPARISON), "There is no comparison of this run: the task `gate` writes it.")


@app.get("/runs/{run}/flip_preview.html", dependencies=[_may_read, _may_see_production])
def flip_preview(run: str) -> Response:
    """Which answers of production a run's candidate would change."""
    from braintumor.reports.paths import FLIP_PREVIEW, run_path

    return _page(
        run_path(run, FLIP_PREVIEW),
        "There is no flip preview of this run: it is written by the task `preview`, once the gate has passed.",
    )


@app.get("/runs/{run}/rescore.html", dependencies=[_may_read_rescores, _may_see_production])
def rescore_report(run: str) -> Response:
    """Which answers a rescore changed."""
    from braintumor.reports.paths import RESCORE_REPORT, run_path

    return _page(
        run_path(run, RESCORE_REPORT),
        "There is no report of this rescore: it is written by the task `report`, once scans were scored.",
    )


@app.get("/runs/{run}/morning.html", dependencies=[_may_see_production])
def morning(run: str) -> Response:
    """How a night went."""
    from braintumor.reports.paths import RUN_STATUS, run_path

    return _page(run_path(run, RUN_STATUS), "There is no morning sheet of this run: the task `reconcile` writes it.")


@app.get("/snapshots/{snapshot}.html", dependencies=[_may_read])
def quality(snapshot: str) -> Response:
    """The quality of a snapshot's images."""
    from braintumor.reports.paths import snapshot_path

    return _page(snapshot_path(snapshot), "There is no quality report of this snapshot: the task `snapshot` writes it.")


def _page(path: str, why_not: str) -> Response:
    """A page below the models' prefix in S3.

    Raises:
        HTTPException: 404, saying ``why_not``.
    """
    from braintumor.s3 import S3Uri

    settings, _, _ = opened()
    return HTMLResponse(_read(S3Uri.parse_prefix(settings.require("models_uri")) / path, why_not), headers=_LOCKED)


def _beside(name: str, file: str) -> bytes:
    """A page that lies beside a model's files.

    Raises:
        HTTPException: 404, there is no such model or page.
    """
    from braintumor.errors import ModelIntegrityError
    from braintumor.registry.model_versions import find_model
    from braintumor.s3 import S3Uri

    why_not = "There is no report of this model yet: it is written by the task `evaluate`."
    _, engine, _ = opened()
    try:
        model = find_model(engine, name)
    except ModelIntegrityError as error:
        raise HTTPException(404, why_not) from error
    return _read(S3Uri.parse(model.artifact_uri) / file, why_not)


def _read(uri: S3Uri, why_not: str) -> bytes:
    from braintumor.errors import ObjectMissingError

    _, _, store = opened()
    try:
        return store.read(uri)
    except ObjectMissingError as error:
        raise HTTPException(404, why_not) from error


class BrainTumorReports(AirflowPlugin):
    """Mounts the app and puts it into the navigation."""

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
