"""Select the candidate of a retrain run by validation metrics, and judge the candidate by test metrics.

A retrain run has one candidate, which never changes. A verdict compares the candidate with the current champion and
with the reference model. While the champion stays the same, the gate returns the stored verdict. If the champion has
changed, the gate judges the candidate again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import EvaluationError, ModelIntegrityError
from braintumor.evaluation.evaluate_model import Evaluator
from braintumor.evaluation.gate.gate import RuleOutcome, Verdict, judge
from braintumor.evaluation.gate.identity_check import differs_from_champion, differs_from_withdrawn
from braintumor.evaluation.gate.isolated_check import verify_in_subprocess
from braintumor.evaluation.gate.leak_check import unseen_images
from braintumor.evaluation.gate.reference import budget_rule, compare_with_reference, is_better, reference_rules
from braintumor.evaluation.gate.rules import GateRules
from braintumor.evaluation.gate.split_memory import SplitMemory
from braintumor.evaluation.metrics.classification import Evaluation
from braintumor.evaluation.metrics.significance import ImagePredictions, PredictionPair, difference_of_images
from braintumor.evaluation.report.build import build_model_report
from braintumor.evaluation.report.champion_comparison import ChampionComparison, compare_with_model
from braintumor.evaluation.report.formatting import recipe
from braintumor.evaluation.report.html import comparison_report
from braintumor.evaluation.report.paper_baseline import paper_table
from braintumor.evaluation.report.publish import artifact_bytes, publish_report
from braintumor.evaluation.split_history import champion_optimism, judged_candidates
from braintumor.evaluation.store import load_evaluation, load_image_predictions
from braintumor.imaging.letterbox import PREPROCESSING
from braintumor.markdown import escaped
from braintumor.progress import progress
from braintumor.registry import model_versions
from braintumor.registry.model_versions import ModelVersion
from braintumor.registry.promotions import undone_models
from braintumor.registry.reference_model import GATE, find_reference, name_reference
from braintumor.reports.paths import RUN_COMPARISON, run_page, write_page
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.training.recalibrate import AUDIT_SAMPLE

Verify = Callable[[Settings, str], Sequence[RuleOutcome]]
"""Type of a function that checks the files of the model with a given name, such as ``verify_in_subprocess``."""
_NOT_ON_TEST = "they were fitted on the audit sample, which no rule of the gate measures"
_STORED = (
    "This verdict was stored earlier, by version {} of the gate's rule file. A corrected rule file does not renew it. "
    "It applies to new candidates: to get one, trigger the DAG `weekly_retrain` again."
)
_REPAIRABLE = {"artifact_whole", "same_test_images"}
"""Rules whose failure a person can repair. Such a failure alone says nothing about the model."""


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """Hold a stored verdict and its candidate.

    ``champion_model_version_id`` is the number of the champion of the comparison, ``None`` if there was none.
    """

    gate_verdict_id: int
    candidate: ModelVersion
    verdict: Verdict
    champion_model_version_id: int | None


def judge_run(
    settings: Settings, run_key: str, recipes: Sequence[str] = (), *, verify: Verify = verify_in_subprocess
) -> dict[str, Any]:
    """Select the candidate of a retrain run, judge it, and publish the reports.

    Args:
        settings: connections to Postgres and S3, and the rule file.
        run_key: key of the retrain run.
        recipes: names of all recipes of the run. The text for the approver lists those without an evaluated model.
        verify: function that checks the candidate's files.

    Returns:
        A dictionary. Its values ``gate_verdict_id`` and ``model_name`` identify the verdict and the candidate.
        ``is_passed`` is the decision, and ``summary`` the decision in one sentence. ``reasons`` has the reasons of the
        failed rules. ``is_new`` is true if this call judged the candidate. Otherwise ``note`` explains why not.
        ``markdown`` is the text for the approver. ``report_uri`` is the address of the page that compares the models of
        the run.

    Raises:
        EvaluationError: no recipe of the run has an evaluated model. Or files of the candidate or of the champion are
            missing or damaged, or their evaluations do not fit together. Then no verdict is stored.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    run = _Run(settings=settings, engine=engine, store=store, run_key=run_key)
    models = _evaluated_models(engine, run_key)
    champion = model_versions.find_champion(engine)
    judgment = find_judgment(engine, run_key, champion)
    is_new = judgment is None
    if judgment is None:
        candidate = run.select_candidate(models)
        verdict = run.judge(candidate, champion, verify)
        _require_repaired(candidate, verdict)
        judgment = run.record(candidate, champion, verdict)
    publish_report(engine, store, judgment.candidate, verdict=judgment.verdict)
    comparison = compare_with_model(engine, judgment.candidate, judgment.champion_model_version_id)
    return {
        "gate_verdict_id": judgment.gate_verdict_id,
        "model_name": judgment.candidate.model_name,
        "is_passed": judgment.verdict.passed,
        "is_new": is_new,
        "note": "" if is_new else _STORED.format(judgment.verdict.rules_version),
        "reasons": [rule.reason for rule in judgment.verdict.failed],
        "summary": judgment.verdict.summary,
        "markdown": _markdown(judgment, _missing(models, recipes), comparison),
        "report_uri": str(run.publish_comparison(models, judgment)),
    }


def require_every_model(settings: Settings, run_key: str, recipes: Sequence[str]) -> int:
    """Return the number of evaluated models of a retrain run, and require one for each of ``recipes``.

    Raises:
        EvaluationError: a recipe has no evaluated model.
    """
    models = _evaluated_models(database.connect(settings), run_key)
    missing = _missing(models, recipes)
    if missing:
        raise EvaluationError(
            f"These recipes have no evaluated model: {', '.join(missing)}. See the logs of their tasks `train` and "
            "`evaluate`, fix the cause, and clear them. The models of the other recipes are judged without them."
        )
    return len(models)


def find_judgment(engine: Engine, run_key: str, champion: ModelVersion | None) -> Judgment | None:
    """Return the newest verdict of a retrain run that still applies, or ``None`` if there is no such verdict.

    A verdict applies if it compared the candidate with ``champion``, or if the candidate has become ``champion``.
    If ``champion`` is ``None``, a verdict without a champion applies.
    """
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
            select gate_verdict_id, model_version_id, champion_model_version_id, rules from gate_verdict
            where run_key = :run_key
              and (champion_model_version_id is not distinct from :champion or model_version_id = :champion)
            order by gate_verdict_id desc
            limit 1"""),
            {"run_key": run_key, "champion": champion and champion.model_version_id},
        ).one_or_none()
    if row is None:
        return None
    candidate = model_versions.find_model(engine, str(row.model_version_id))
    return Judgment(
        gate_verdict_id=row.gate_verdict_id,
        candidate=candidate,
        verdict=Verdict.from_dict(row.rules),
        champion_model_version_id=row.champion_model_version_id,
    )


def _evaluated_models(engine: Engine, run_key: str) -> list[ModelVersion]:
    models = model_versions.trained_in(engine, run_key)
    with transaction(engine) as connection:
        evaluated = [
            model for model in models if load_evaluation(connection, model, model.snapshot_id, Split.TEST) is not None
        ]
    if not evaluated:
        raise EvaluationError(
            f"No recipe of the run {run_key!r} has an evaluated model. See the log of the first task that failed: "
            "`recipes`, `snapshot`, `train` or `evaluate`."
        )
    return evaluated


def _require_repaired(candidate: ModelVersion, verdict: Verdict) -> None:
    """Check that a refusal has a reason that no person can repair."""
    if verdict.passed or not {rule.name for rule in verdict.failed} <= _REPAIRABLE:
        return
    raise EvaluationError(
        f"The gate stored no verdict on {candidate.model_name}, because {'; '.join(r.reason for r in verdict.failed)}. "
        "Restore the files of the model from a backup, or evaluate the models again. Then clear the task `gate`, or "
        "repeat the command."
    )


def _missing(models: Sequence[ModelVersion], recipes: Sequence[str]) -> list[str]:
    return sorted(set(recipes) - {model.recipe_name for model in models})


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Run the steps of the gate for one retrain run."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    run_key: str

    def select_candidate(self, models: Sequence[ModelVersion]) -> ModelVersion:
        """Return the candidate of the run's first verdict. Without a verdict, return the best model on validation."""
        with transaction(self.engine) as connection:
            chosen = connection.scalar(
                text("""
                select model_version_id from gate_verdict where run_key = :run_key order by gate_verdict_id limit 1"""),
                {"run_key": self.run_key},
            )
        if chosen is not None:
            return model_versions.find_model(self.engine, str(chosen))
        return min(models, key=lambda model: build_model_report(self.engine, model).rank)

    def judge(self, candidate: ModelVersion, champion: ModelVersion | None, verify: Verify) -> Verdict:
        rules, snapshot_id = GateRules.load(self.settings.gate_rules), candidate.snapshot_id
        test = self._evaluate(candidate, snapshot_id, self._predictions(candidate, snapshot_id))
        predictions = self._predictions(candidate, snapshot_id)
        unseen = unseen_images(load_snapshot(self.engine, snapshot_id), predictions.keys())
        rival: Evaluation | None = None
        pair: PredictionPair | None = None
        why = "no champion"
        if champion is not None:
            try:
                rival = self._evaluate(champion, snapshot_id, predictions)
                pair = PredictionPair(candidate=predictions, champion=self._predictions(champion, snapshot_id))
            except ModelIntegrityError as error:
                if champion.preprocessing == PREPROCESSING:
                    raise EvaluationError(_lost_champion(champion, error)) from error
                # no repair lets this version load it, so it must not block others
                why = f"the champion {champion.model_name} cannot be evaluated ({error})"
        memory, outcomes = self._remember(candidate, champion if rival else None, predictions, rules)
        with progress("Checking the model's files"):
            checks = [*verify(self.settings, candidate.model_name), unseen, *outcomes]
        if champion is not None and candidate.model_version_id != champion.model_version_id:
            checks.append(differs_from_champion(candidate, champion))
        if champion is None or candidate.model_version_id != champion.model_version_id:
            checks += self._compare_with_withdrawn(candidate)
        return replace(judge(test, rules, rival, pair=pair, checks=checks, without_champion=why), memory=memory)

    def _remember(
        self, candidate: ModelVersion, champion: ModelVersion | None, predictions: ImagePredictions, rules: GateRules
    ) -> tuple[SplitMemory, list[RuleOutcome]]:
        """Return what the gate remembers of the candidate's test split, and the outcomes of the rules that use it."""
        with transaction(self.engine) as connection:
            judged = judged_candidates(connection, candidate, same_share=rules.same_split_share)
            optimism: float | str = "there is no champion with predictions of these test images"
            if champion is not None:
                optimism = champion_optimism(connection, champion, judged, predictions)
        reference = self._compare_with_reference(candidate, champion, predictions, rules)
        sets = candidate.prediction_sets
        unknown = {
            "the reference model": reference,
            "the optimism of the champion's accuracy": optimism,
            "the coverage of the prediction sets": _NOT_ON_TEST if sets and sets.fitted_on == AUDIT_SAMPLE else None,
        }
        memory = SplitMemory(
            count_judged=len(judged.model_version_ids),
            count_year=judged.count_year,
            reference=None if isinstance(reference, str) else reference[0].model_name,
            champion_optimism=None if isinstance(optimism, str) else optimism,
            not_assessed=tuple(f"{what}, because {why}" for what, why in unknown.items() if isinstance(why, str)),
        )
        outcomes = () if isinstance(reference, str) else reference[1]
        return memory, [budget_rule(judged.count_year, rules), *outcomes]

    def _compare_with_reference(
        self, candidate: ModelVersion, champion: ModelVersion | None, predictions: ImagePredictions, rules: GateRules
    ) -> tuple[ModelVersion, Sequence[RuleOutcome]] | str:
        """Return the reference model and the outcomes of the rules that compare the candidate with it.

        If the two cannot be compared, return a text that says why. If there is no reference model yet, the champion
        becomes the reference model. A champion that is shown to be more accurate replaces the reference model.
        """
        snapshot_id = candidate.snapshot_id
        reference = find_reference(self.engine)
        if reference is None:
            if champion is None:
                return "no model was promoted or named as reference"
            reference = champion
            name_reference(self.engine, champion, actor=GATE, reason="first champion without a reference model")
        try:
            self._evaluate(reference, snapshot_id, predictions)
        except ModelIntegrityError as error:
            return f"{reference.model_name} was not evaluated on this test split and cannot be evaluated now ({error})"
        known = self._predictions(reference, snapshot_id)
        difference = difference_of_images(PredictionPair(candidate=predictions, champion=known))
        if difference or not predictions:
            return f"the predictions of {reference.model_name} are of another test split ({difference or 'no images'})"
        if champion is not None and champion.model_version_id != reference.model_version_id:
            challenger = self._predictions(champion, snapshot_id)
            if is_better(compare_with_reference(PredictionPair(candidate=challenger, champion=known), rules), rules):
                why = f"more accurate than {reference.model_name} with {rules.reference_confidence:.2%} confidence"
                name_reference(self.engine, champion, actor=GATE, reason=why)
                reference, known = champion, challenger
        comparison = compare_with_reference(PredictionPair(candidate=predictions, champion=known), rules)
        return reference, reference_rules(comparison, rules, reference=reference.model_name)

    def _compare_with_withdrawn(self, candidate: ModelVersion) -> list[RuleOutcome]:
        """Return the outcome of the rule on withdrawn models, or an empty list if people refused no model so far."""
        models = model_versions.list_models(self.engine)
        with transaction(self.engine) as connection:
            undone = undone_models(connection)
            answers = connection.execute(statement("evaluation/newest_answers")).all()
        rejected = {row.model_version_id: row.answered_at for row in answers if row.answer == "reject"}
        if not (undone or rejected or any(model.withdrawn_at for model in models)):
            return []
        return [differs_from_withdrawn(candidate, models, undone=undone, rejected=rejected)]

    def _predictions(self, model: ModelVersion, snapshot_id: str) -> ImagePredictions:
        with transaction(self.engine) as connection:
            return load_image_predictions(connection, model, snapshot_id, Split.TEST)

    def _evaluate(self, model: ModelVersion, snapshot_id: str, predictions: ImagePredictions) -> Evaluation:
        """Return the evaluation of a model on the images of the candidate's ``predictions``.

        If the stored evaluation is missing or of other images, evaluate the model now. An erasure deletes predictions,
        and leaves the number of images of the stored evaluation.
        """
        with transaction(self.engine) as connection:
            stored = load_evaluation(connection, model, snapshot_id, Split.TEST)
        known = self._predictions(model, snapshot_id)
        if stored is not None and known.keys() == predictions.keys() and stored.count == len(known):
            return stored
        evaluator = Evaluator.open(self.settings, model.model_name)
        result = evaluator.evaluate_split(snapshot_id, Split.TEST, access_key=f"gate of {self.run_key}")
        return result.evaluation

    def record(self, candidate: ModelVersion, champion: ModelVersion | None, verdict: Verdict) -> Judgment:
        """Store a verdict, and return it. If a concurrent task has stored a verdict first, return that verdict."""
        with transaction(self.engine) as connection:
            connection.execute(
                statement("evaluation/record_verdict"),
                {
                    "run_key": self.run_key,
                    "model": candidate.model_version_id,
                    "champion": champion and champion.model_version_id,
                    "is_passed": verdict.passed,
                    "rules": json.dumps(verdict.to_dict()),
                    "summary": verdict.summary,
                    "reference": verdict.memory and verdict.memory.reference,
                    "count_judged": verdict.memory and verdict.memory.count_judged,
                    "champion_optimism": verdict.memory and verdict.memory.champion_optimism,
                },
            )
        stored = find_judgment(self.engine, self.run_key, champion)
        if stored is None:
            raise EvaluationError(f"The verdict on {candidate.model_name} was not stored. Clear the task `gate`.")
        return stored

    def publish_comparison(self, models: Sequence[ModelVersion], judgment: Judgment) -> S3Uri:
        """Write the page that compares the models of the run, and return the address of the page."""
        reports = [
            build_model_report(
                self.engine,
                model,
                verdict=judgment.verdict if model.model_name == judgment.candidate.model_name else None,
                artifact_bytes=artifact_bytes(self.store, model),
            )
            for model in models
        ]
        address = run_page(self.settings, self.run_key, RUN_COMPARISON)
        page = comparison_report(reports, title=f"Retrain {self.run_key}", tables=(paper_table(reports),))
        write_page(self.store, address, page)
        return address


def _lost_champion(champion: ModelVersion, error: ModelIntegrityError) -> str:
    return (
        f"The champion {champion.model_name} cannot be evaluated, so the gate stored no verdict. {error} After a "
        "repair clear the task `gate`. If the files are lost, withdraw the champion first: `braintumor model withdraw "
        f"{champion.model_name} --reason ...`. Then the absolute rules alone decide."
    )


def _markdown(judgment: Judgment, missing: Sequence[str], comparison: ChampionComparison | None) -> str:
    """Return the text for the approver, with the comparison with the champion and then the verdict.

    ``missing`` has the names of recipes without an evaluated model.
    """
    candidate = judgment.candidate
    words = escaped(recipe(candidate.recipe_name, candidate.recipe_override))
    parts = [
        f"**No evaluated model: {', '.join(missing)}.**" if missing else "",
        f"Candidate **{candidate.model_name}**, selected on validation. Recipe: {words}.",
        comparison.to_markdown() if comparison else "",
        judgment.verdict.to_markdown(),
    ]
    return "\n\n".join(part for part in parts if part)
