"""The reports of the retrain DAG, in Airflow's navigation: for who may see that DAG's runs, and for nobody else.

A flip preview shows images of production, so it is for who may see the runs of the nightly DAG too. So does the report
of a rescore, which is for who may see the runs of both DAGs that score. The pages lie in S3 beside the models. They are
streamed through these routes and never served as files.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from airflow.api_fastapi.core_api.security import DagAccessEntity, requires_access_dag
from airflow.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

if TYPE_CHECKING:
    from braintumor.settings import Settings

_PREFIX = "/braintumor/reports"
_may_read = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id="weekly_retrain"))
_may_see_production = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id="nightly_scoring"))
_may_read_rescores = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id="rescore_history"))
_LOCKED = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
}

app = FastAPI(title="Brain-tumour model reports", docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/", dependencies=[_may_read])
def models() -> HTMLResponse:
    """Every model version, with its report."""
    from braintumor import database
    from braintumor.registry import list_models

    rows = [
        f"<tr><td>{model.standing}</td>"
        f'<td><a href="{_PREFIX}/model/{escape(model.model_name)}/report.html">{escape(model.model_name)}</a></td>'
        f"<td>{escape(model.backbone)}</td><td>{escape(model.initialisation)}</td>"
        f"<td>{model.created_at:%Y-%m-%d %H:%M}</td></tr>"
        for model in list_models(database.connect(_settings()))
    ]
    return HTMLResponse(_PAGE.format(rows="\n".join(rows) or _NOTHING), headers=_LOCKED)


@app.get("/model/{name}/report.html", dependencies=[_may_read])
def report(name: str) -> Response:
    """One model's report."""
    return HTMLResponse(_beside(name, "report.html"), headers=_LOCKED)


@app.get("/model/{name}/model_card.md", dependencies=[_may_read])
def card(name: str) -> Response:
    """One model's card, where its report links to it."""
    return PlainTextResponse(_beside(name, "model_card.md"), headers=_LOCKED)


@app.get("/runs/{run}/flip_preview.html", dependencies=[_may_read, _may_see_production])
def flip_preview(run: str) -> Response:
    """Which answers of production a run's candidate would change."""
    from braintumor.pages.address import FLIP_PREVIEW

    why_none = "There is no flip preview of this run: it is written by the task `preview`, once the gate has passed."
    return HTMLResponse(_of_run(run, FLIP_PREVIEW, why_none=why_none), headers=_LOCKED)


@app.get("/runs/{run}/rescore.html", dependencies=[_may_read_rescores, _may_see_production])
def rescore_report(run: str) -> Response:
    """Which answers a rescore changed."""
    from braintumor.pages.address import RESCORE_REPORT

    why_none = "There is no report of this rescore: it is written by the task `report`, once scans were scored."
    return HTMLResponse(_of_run(run, RESCORE_REPORT, why_none=why_none), headers=_LOCKED)


def _of_run(run: str, page: str, *, why_none: str) -> bytes:
    """A page of a run.

    Raises:
        HTTPException: 404, there is none.
    """
    from braintumor.errors import ObjectMissingError
    from braintumor.objectstore import ObjectStore
    from braintumor.pages.address import run_page

    settings = _settings()
    try:
        return ObjectStore.connect(settings).read(run_page(settings, run, page))
    except ObjectMissingError as error:
        raise HTTPException(404, why_none) from error


def _beside(name: str, file: str) -> bytes:
    """A page that lies beside a model's files.

    Raises:
        HTTPException: 404, there is no such model or page.
    """
    from braintumor import database
    from braintumor.errors import ModelIntegrityError, ObjectMissingError
    from braintumor.objectstore import ObjectStore, S3Uri
    from braintumor.registry import find_model

    settings = _settings()
    try:
        model = find_model(database.connect(settings), name)
        return ObjectStore.connect(settings).read(S3Uri.parse(model.artefact_uri) / file)
    except (ModelIntegrityError, ObjectMissingError) as error:
        raise HTTPException(
            404, "There is no report of this model yet: it is written by the task `evaluate`."
        ) from error


def _settings() -> Settings:
    from airflow.models.connection import Connection

    from braintumor.settings import Settings

    return Settings.from_environment().completed(Connection.get_connection_from_secrets)


_NOTHING = "<tr><td colspan=5>No model has been trained yet: trigger the DAG weekly_retrain.</td></tr>"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Brain-tumour models</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
body {{ max-width: 70rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; padding: .4rem .8rem; border-bottom: 1px solid #8886 }}
</style></head><body>
<h1>Brain-tumour models</h1>
<p>Reports of the retrain DAG. For review, not for diagnosis.</p>
<table><tr><th></th><th>Model</th><th>Backbone</th><th>Initial weights</th><th>Trained (UTC)</th></tr>
{rows}</table></body></html>"""


class BrainTumorReports(AirflowPlugin):
    """Mounts the app and puts it into the navigation."""

    name = "braintumor_reports"
    fastapi_apps = [{"app": app, "url_prefix": _PREFIX, "name": "Brain-tumour reports"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Brain-tumour models",
            "href": f"{_PREFIX}/",
            "url_route": "braintumor-reports",
            "destination": "nav",
            "category": "browse",
        }
    ]
