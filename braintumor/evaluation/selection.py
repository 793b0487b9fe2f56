"""Choice before judgement: validation picks the one candidate of a run, then the gate passes or refuses it on test."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Engine, text

from braintumor import database, registry
from braintumor.database import transaction
from braintumor.dataset.split import Split
from braintumor.errors import EvaluationError, ModelIntegrityError, NoChampionError
from braintumor.evaluation.dossier import dossier
from braintumor.evaluation.gate import GateRules, Verdict, judge
from braintumor.evaluation.job import judge_split
from braintumor.evaluation.metrics import Evaluation
from braintumor.evaluation.publish import HTML, artefact_bytes, publish_report
from braintumor.evaluation.record import load_evaluation
from braintumor.evaluation.report import ModelReport, comparison_report
from braintumor.objectstore import ObjectStore, S3Uri
from braintumor.registry import ModelVersion
from braintumor.settings import Settings


def judge_run(settings: Settings, run_key: str) -> dict[str, Any]:
    """Pick the candidate of a retrain run, put it before the gate, and report; a retry reads the first verdict back.

    Returns a small summary: ``gate_verdict_id``, ``model_name``, ``is_passed``, ``markdown``, ``report_uri``.

    Raises:
        EvaluationError: no recipe of the run came to a model that was evaluated.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    models = _evaluated(engine, run_key)
    candidate = min(models, key=lambda model: _order(dossier(engine, model)))
    champion = _champion(engine)
    rival = None if champion is None else _on_same_images(engine, store, settings, champion, candidate.snapshot_id)
    fresh = judge(dossier(engine, candidate).test, GateRules.load(settings.gate_rules), rival)
    verdict_id, verdict = _record(engine, run_key, candidate, champion, fresh)
    publish_report(engine, store, candidate, verdict=verdict)
    comparison = _publish_comparison(
        engine, store, settings, run_key=run_key, models=models, candidate=candidate, verdict=verdict
    )
    return {
        "gate_verdict_id": verdict_id,
        "model_name": candidate.model_name,
        "is_passed": verdict.passed,
        "markdown": f"Candidate **{candidate.model_name}**, picked by validation.\n\n{verdict.to_markdown()}",
        "report_uri": str(comparison),
    }


def promote_candidate(settings: Settings, gate_verdict_id: int, *, approval: dict[str, Any] | None = None) -> bool:
    """Promote what passed the gate; ``approval`` is the answer of Airflow's approval task, if a person was asked.

    Returns whether the champion changed: a retry changes nothing.

    Raises:
        ModelIntegrityError: the gate refused the candidate.
    """
    engine = database.connect(settings)
    with transaction(engine) as connection:
        row = connection.execute(
            text("select run_key, model_version_id, is_passed, summary from gate_verdict where gate_verdict_id = :id"),
            {"id": gate_verdict_id},
        ).one()
    if not row.is_passed:
        raise ModelIntegrityError(f"The gate refused this candidate, so it stays one: {row.summary}")
    user = (approval or {}).get("responded_by_user") or {}
    return registry.promote(
        engine,
        registry.find_model(engine, str(row.model_version_id)),
        request_key=f"retrain {row.run_key}",
        actor=user.get("name") or "policy auto",
        reason=row.summary,
        gate_verdict_id=gate_verdict_id,
    )


def passed_verdict(engine: Engine, model: ModelVersion) -> int:
    """The newest verdict that passed a model.

    Raises:
        ModelIntegrityError: the gate never passed it.
    """
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
            select gate_verdict_id, is_passed, summary from gate_verdict
            where model_version_id = :id order by gate_verdict_id desc limit 1"""),
            {"id": model.model_version_id},
        ).one_or_none()
    if row is None or not row.is_passed:
        why = "It was never before the gate" if row is None else f"The gate refused it: {row.summary}"
        raise ModelIntegrityError(
            f"{model.model_name} may not be promoted. {why}. To promote it all the same, add --override; the ledger "
            "keeps that with your reason."
        )
    found: int = row.gate_verdict_id
    return found


def _evaluated(engine: Engine, run_key: str) -> list[ModelVersion]:
    models = registry.trained_in(engine, run_key)
    with transaction(engine) as connection:
        judged = [model for model in models if _is_judged(connection, model)]
    if not judged:
        raise EvaluationError(
            f"No recipe of the run {run_key!r} came to an evaluated model. See the logs of `train` and `evaluate`."
        )
    return judged


def _publish_comparison(
    engine: Engine,
    store: ObjectStore,
    settings: Settings,
    *,
    run_key: str,
    models: list[ModelVersion],
    candidate: ModelVersion,
    verdict: Verdict,
) -> S3Uri:
    """One page that sets the run's models beside each other."""
    reports = [
        dossier(
            engine,
            model,
            verdict=verdict if model == candidate else None,
            artefact_bytes=artefact_bytes(store, model),
        )
        for model in models
    ]
    address = S3Uri.parse_prefix(settings.require("models_uri")) / f"runs/{_safe(run_key)}/comparison.html"
    store.write(address, comparison_report(reports, title=f"Retrain {run_key}").encode(), content_type=HTML)
    return address


def _is_judged(connection: Connection, model: ModelVersion) -> bool:
    return load_evaluation(connection, model, model.snapshot_id, Split.TEST) is not None


def _order(report: ModelReport) -> tuple[float, float, str]:
    """Best validation accuracy first, then the lower loss; the name breaks ties. Nothing of the test split."""
    return (-report.validation.accuracy, report.validation.log_loss, report.name)


def _champion(engine: Engine) -> ModelVersion | None:
    try:
        return registry.champion(engine)
    except NoChampionError:
        return None


def _on_same_images(
    engine: Engine, store: ObjectStore, settings: Settings, champion: ModelVersion, snapshot_id: str
) -> Evaluation:
    """The champion's figures on the candidate's test images, judged now if they never were."""
    with transaction(engine) as connection:
        known = load_evaluation(connection, champion, snapshot_id, Split.TEST)
    if known is not None:
        return known
    loaded = registry.load_model(store, settings, champion)
    return judge_split(engine, store, champion, loaded, snapshot_id=snapshot_id, split=Split.TEST).evaluation


def _record(
    engine: Engine, run_key: str, candidate: ModelVersion, champion: ModelVersion | None, verdict: Verdict
) -> tuple[int, Verdict]:
    """Keep the first verdict of a run, and return the one that is kept."""
    with transaction(engine) as connection:
        connection.execute(
            text("""
            insert into gate_verdict (run_key, model_version_id, champion_model_version_id, is_passed, rules, summary)
            values (:run_key, :model, :champion, :is_passed, cast(:rules as jsonb), :summary)
            on conflict (run_key) do nothing"""),
            {
                "run_key": run_key,
                "model": candidate.model_version_id,
                "champion": champion and champion.model_version_id,
                "is_passed": verdict.passed,
                "rules": json.dumps(verdict.to_dict()),
                "summary": verdict.summary,
            },
        )
        row = connection.execute(
            text("select gate_verdict_id, rules from gate_verdict where run_key = :run_key"), {"run_key": run_key}
        ).one()
        return row.gate_verdict_id, Verdict.from_dict(row.rules)


def _safe(run_key: str) -> str:
    """A run key as part of an object key."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in run_key)
