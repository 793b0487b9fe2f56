"""Choice before judgment: validation picks the one candidate of a run, then the gate passes or refuses it on test.

A run has one candidate for ever. Its verdict holds against the champion of the moment: asked again, the gate answers
with the stored verdict as long as the champion is the same, and judges the same candidate anew when it is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

from braintumor.config.settings import Settings
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.errors import EvaluationError, ModelIntegrityError
from braintumor.evaluation.evaluate_model import judge_split
from braintumor.evaluation.gate.gate import RuleOutcome, Verdict, judge
from braintumor.evaluation.gate.isolated_check import verify_in_subprocess
from braintumor.evaluation.gate.leak_check import unseen_images
from braintumor.evaluation.gate.rules import GateRules
from braintumor.evaluation.metrics.classification import Evaluation
from braintumor.evaluation.metrics.significance import ImagePredictions, PredictionPair
from braintumor.evaluation.report.build import build_model_report
from braintumor.evaluation.report.formatting import recipe
from braintumor.evaluation.report.html import comparison_report
from braintumor.evaluation.report.paper_baseline import paper_table
from braintumor.evaluation.report.publish import artifact_bytes, publish_report
from braintumor.evaluation.store import load_evaluation, load_image_predictions
from braintumor.markdown import escaped
from braintumor.registry import model_versions
from braintumor.registry.model_versions import ModelVersion
from braintumor.reports.paths import RUN_COMPARISON, run_page, write_page
from braintumor.s3 import ObjectStore, S3Uri

Verify = Callable[[Settings, str], Sequence[RuleOutcome]]
"""Checks a model by its name, as ``verify_in_fresh_process`` does."""


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """A stored verdict and the candidate that it is on."""

    gate_verdict_id: int
    candidate: ModelVersion
    verdict: Verdict


def judge_run(
    settings: Settings, run_key: str, recipes: Sequence[str] = (), *, verify: Verify = verify_in_subprocess
) -> dict[str, Any]:
    """Pick the candidate of a retrain run, put it before the gate, and report.

    Returns a small summary: ``gate_verdict_id``, ``model_name``, ``is_passed``, ``is_new`` (judged just now),
    ``reasons`` (of the rules that do not hold), ``markdown``, ``report_uri``. Those of ``recipes`` that came to no
    evaluated model are named in its words. ``verify`` checks that its artifact is whole.

    Raises:
        EvaluationError: no recipe of the run came to a model that was evaluated.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    models = _evaluated(engine, run_key)
    champion = model_versions.find_champion(engine)
    judgment = find_judgment(engine, run_key, champion)
    is_new = judgment is None
    if judgment is None:
        candidate = _candidate(engine, run_key, models)
        verdict = _judge(engine, store, settings, candidate, champion, verify=verify, run_key=run_key)
        judgment = _record(engine, run_key, candidate, champion, verdict)
    publish_report(engine, store, judgment.candidate, verdict=judgment.verdict)
    comparison = _publish_comparison(engine, store, settings, run_key=run_key, models=models, judgment=judgment)
    return {
        "gate_verdict_id": judgment.gate_verdict_id,
        "model_name": judgment.candidate.model_name,
        "is_passed": judgment.verdict.passed,
        "is_new": is_new,
        "reasons": [rule.reason for rule in judgment.verdict.failed],
        "markdown": _markdown(judgment, _missing(models, recipes)),
        "report_uri": str(comparison),
    }


def require_every_model(settings: Settings, run_key: str, recipes: Sequence[str]) -> int:
    """Check at a run's end that each of its recipes came to an evaluated model; returns how many did.

    Raises:
        EvaluationError: naming the recipes that did not.
    """
    models = _evaluated(database.connect(settings), run_key)
    missing = _missing(models, recipes)
    if missing:
        raise EvaluationError(
            f"These recipes came to no evaluated model: {', '.join(missing)}. See the logs of their tasks `train` and "
            "`evaluate`, mend the cause, and clear them. What the other recipes came to is judged all the same."
        )
    return len(models)


def find_judgment(engine: Engine, run_key: str, champion: ModelVersion | None) -> Judgment | None:
    """The run's stored verdict against ``champion``, or the one that made its candidate the champion."""
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
            select gate_verdict_id, model_version_id, rules from gate_verdict
            where run_key = :run_key
              and (champion_model_version_id is not distinct from :champion or model_version_id = :champion)
            order by gate_verdict_id desc
            limit 1"""),
            {"run_key": run_key, "champion": champion and champion.model_version_id},
        ).one_or_none()
    if row is None:
        return None
    candidate = model_versions.find_model(engine, str(row.model_version_id))
    return Judgment(gate_verdict_id=row.gate_verdict_id, candidate=candidate, verdict=Verdict.from_dict(row.rules))


def _evaluated(engine: Engine, run_key: str) -> list[ModelVersion]:
    models = model_versions.trained_in(engine, run_key)
    with transaction(engine) as connection:
        judged = [model for model in models if _is_judged(connection, model)]
    if not judged:
        raise EvaluationError(
            f"No recipe of the run {run_key!r} came to an evaluated model. See the logs of `train` and `evaluate`."
        )
    return judged


def _is_judged(connection: Connection, model: ModelVersion) -> bool:
    return load_evaluation(connection, model, model.snapshot_id, Split.TEST) is not None


def _missing(models: Sequence[ModelVersion], recipes: Sequence[str]) -> list[str]:
    return sorted(set(recipes) - {model.recipe_name for model in models})


def _candidate(engine: Engine, run_key: str, models: Sequence[ModelVersion]) -> ModelVersion:
    """Whom the run's first verdict was on; before there is one, the best on validation."""
    with transaction(engine) as connection:
        chosen = connection.scalar(
            text("""
            select model_version_id from gate_verdict where run_key = :run_key order by gate_verdict_id limit 1"""),
            {"run_key": run_key},
        )
    if chosen is not None:
        return model_versions.find_model(engine, str(chosen))
    return min(models, key=lambda model: build_model_report(engine, model).rank)


def _judge(
    engine: Engine,
    store: ObjectStore,
    settings: Settings,
    candidate: ModelVersion,
    champion: ModelVersion | None,
    *,
    verify: Verify,
    run_key: str,
) -> Verdict:
    test, rules = build_model_report(engine, candidate).test, GateRules.load(settings.gate_rules)
    answers = _answers(engine, candidate, candidate.snapshot_id)
    snapshot = load_snapshot(engine, candidate.snapshot_id)
    checks = [*verify(settings, candidate.model_name), unseen_images(snapshot, answers.keys())]
    if champion is None:
        return judge(test, rules, checks=checks)
    try:
        rival = _on_same_images(
            engine, store, settings, champion, candidate.snapshot_id, answers=answers, run_key=run_key
        )
    except ModelIntegrityError as error:  # such a champion scores no night either: it must not stand in the way
        why = f"the champion {champion.model_name} cannot be judged ({error})"
        return judge(test, rules, checks=checks, without_champion=why)
    pair = PredictionPair(candidate=answers, champion=_answers(engine, champion, candidate.snapshot_id))
    return judge(test, rules, rival, pair=pair, checks=checks)


def _answers(engine: Engine, model: ModelVersion, snapshot_id: str) -> ImagePredictions:
    with transaction(engine) as connection:
        return load_image_predictions(connection, model, snapshot_id, Split.TEST)


def _on_same_images(
    engine: Engine,
    store: ObjectStore,
    settings: Settings,
    champion: ModelVersion,
    snapshot_id: str,
    *,
    answers: ImagePredictions,
    run_key: str,
) -> Evaluation:
    """The champion's figures on the candidate's test images, judged now if they never were, or not on all of these."""
    with transaction(engine) as connection:
        known = load_evaluation(connection, champion, snapshot_id, Split.TEST)
    if known is not None and _answers(engine, champion, snapshot_id).keys() == answers.keys():
        return known
    loaded = model_versions.load_model(store, settings, champion)
    return judge_split(
        engine, store, champion, loaded, snapshot_id=snapshot_id, split=Split.TEST, access_key=f"gate of {run_key}"
    ).evaluation


def _record(
    engine: Engine, run_key: str, candidate: ModelVersion, champion: ModelVersion | None, verdict: Verdict
) -> Judgment:
    """Keep a verdict, and return the one that is kept: a gate that ran beside this one may have been first."""
    with transaction(engine) as connection:
        connection.execute(
            text("""
            insert into gate_verdict (run_key, model_version_id, champion_model_version_id, is_passed, rules, summary)
            values (:run_key, :model, :champion, :is_passed, cast(:rules as jsonb), :summary)
            on conflict (run_key, champion_model_version_id) do nothing"""),
            {
                "run_key": run_key,
                "model": candidate.model_version_id,
                "champion": champion and champion.model_version_id,
                "is_passed": verdict.passed,
                "rules": json.dumps(verdict.to_dict()),
                "summary": verdict.summary,
            },
        )
    kept = find_judgment(engine, run_key, champion)
    if kept is None:
        raise EvaluationError(f"The verdict on {candidate.model_name} was not kept. Clear the task `gate`.")
    return kept


def _publish_comparison(
    engine: Engine,
    store: ObjectStore,
    settings: Settings,
    *,
    run_key: str,
    models: Sequence[ModelVersion],
    judgment: Judgment,
) -> S3Uri:
    """One page that sets the run's models beside each other."""
    reports = [
        build_model_report(
            engine,
            model,
            verdict=judgment.verdict if model.model_name == judgment.candidate.model_name else None,
            artifact_bytes=artifact_bytes(store, model),
        )
        for model in models
    ]
    address = run_page(settings, run_key, RUN_COMPARISON)
    page = comparison_report(reports, title=f"Retrain {run_key}", tables=(paper_table(reports),))
    write_page(store, address, page)
    return address


def _markdown(judgment: Judgment, missing: Sequence[str]) -> str:
    """What the task log and the person who is asked to approve read."""
    absent = f"**Came to no evaluated model: {', '.join(missing)}.**\n\n" if missing else ""
    candidate = judgment.candidate
    by = escaped(recipe(candidate.recipe_name, candidate.recipe_override))
    head = f"Candidate **{candidate.model_name}**, picked by validation. Recipe: {by}."
    return f"{absent}{head}\n\n{judgment.verdict.to_markdown()}"
