"""Run ``python -m devstack demo``: retrain, promote and score on real servers, and print the results.

Environment variables: BRAINTUMOR_DEMO_DATASET (a labeled folder instead of phantoms), BRAINTUMOR_DEMO_WEIGHTS
(`imagenet`, a folder of ImageNet weights, or a file of pretrained weights), BRAINTUMOR_DEMO_NIGHT (a folder of scans to
score instead of phantoms).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.config.variables import DEMO_DATASET, DEMO_NIGHT, DEMO_WEIGHTS, Variable
from braintumor.dataset.frame_arrays import load_frames
from braintumor.dataset.images.local_folder import labeled_files, upload
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database, migrations
from braintumor.errors import BrainTumorError, WeightsError
from braintumor.evaluation.judge_run import Judgment, find_judgment
from braintumor.imaging.phantom.slice import write_dataset
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.run import load_run
from braintumor.scoring.run_report.balance import count_balance
from braintumor.training.backbones import BACKBONES
from braintumor.training.pretrained_weights import add_weights
from braintumor.training.recipe import Recipe
from devstack.airflowapi import AirflowClient, TaskState
from devstack.demo_scans import write_demo_scans
from devstack.figures import map_hits, thumbnail_probe
from devstack.show import show_confusion, show_leaderboard, show_predictions, show_rejections
from devstack.stack import Stack

SMALL_RECIPES = ("resnet50_small", "vgg16_small")
"""Recipes that need no downloaded weights."""
IMAGENET = "imagenet"
"""Value of BRAINTUMOR_DEMO_WEIGHTS with which Keras downloads ImageNet weights, or reads them from its cache."""
PER_CLASS = 600
_SEED = 0


class DemoError(BrainTumorError):
    """The demo failed. The message names the step and the cause."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Hold the inputs of the demo, which it reads from its environment.

    ``weights`` is a file of pretrained weights, or a folder of ImageNet weights. ``is_imagenet`` is true if the small
    recipes start from ImageNet weights.
    """

    dataset: Path | None
    weights: Path | None
    night: Path | None
    is_imagenet: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Choice:
        """Read the inputs from the variables BRAINTUMOR_DEMO_DATASET, _WEIGHTS and _NIGHT.

        Raises:
            DemoError: a folder is missing or empty, or the weights file is missing.
        """
        is_download = DEMO_WEIGHTS.read(environment) == IMAGENET
        weights = None if is_download else _path(DEMO_WEIGHTS, environment, kinds=f"a file, {_FOLDER} or `{IMAGENET}`")
        return cls(
            dataset=_path(DEMO_DATASET, environment),
            weights=weights,
            night=_path(DEMO_NIGHT, environment),
            is_imagenet=is_download or (weights is not None and weights.is_dir()),
        )

    def require_weights(self) -> None:
        """Download the ImageNet weights of the small recipes, unless Keras has them in its cache or a folder is given.

        Raises:
            DemoError: the weights cannot be loaded.
        """
        if not self.is_imagenet or self.weights is not None:
            return
        for recipe in SMALL_RECIPES:
            backbone = BACKBONES[Recipe.load(recipe).backbone]
            try:
                backbone.load_imagenet(backbone.build(_ANY_SIZE))
            except WeightsError as exc:
                raise DemoError(
                    f"{DEMO_WEIGHTS.name}={IMAGENET}: {exc} For this demo, name a folder with the weights files of "
                    f"both backbones instead: {DEMO_WEIGHTS.name}=<folder>. Or unset it, to use random weights."
                ) from exc

    def describe(self) -> str:
        """Return the demo's first line: the models, their initial weights and the images."""
        images = f"the images of {self.dataset}" if self.dataset else "synthetic phantoms"
        kind = "ImageNet" if self.is_imagenet else "RANDOM initial"
        heads = f"Trains a head on frozen VGG16 and ResNet50 with {kind} weights at a small image size"
        also = f", and on the backbone of {self.weights.name}" if self.weights and not self.is_imagenet else ""
        return f"{heads}{also}, on {images}. Not models for patients."


_FOLDER = "a folder with a file in it"
_ANY_SIZE = 64
"""Side of the images in pixels. The weights of a backbone fit every size."""


def _path(variable: Variable, environment: Mapping[str, str], *, kinds: str = _FOLDER) -> Path | None:
    """Return the path that a variable names, or ``None`` if the variable is unset. ``kinds`` lists allowed values.

    Raises:
        DemoError: the path is not one of the kinds.
    """
    value = variable.read(environment)
    if value is None:
        return None
    path = Path(value).expanduser()
    if not (_has_files(path) or (kinds != _FOLDER and path.is_file())):
        raise DemoError(f"{variable.name} names {value}, which is not {kinds}. Correct or unset it.")
    return path


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_file() for path in folder.rglob("*"))


class Demo:
    """Run the demo once on a running stack."""

    def __init__(self, stack: Stack, choice: Choice, progress: Callable[[str], None]) -> None:
        self._stack, self._choice, self._progress = stack, choice, progress
        cache = str(stack.state.folder / "cache")
        self.settings = Settings.from_environment({**stack.library_env(), "BRAINTUMOR_CACHE_FOLDER": cache})
        self.engine: Engine = database.connect(self.settings)
        self.store = ObjectStore.connect(self.settings)
        self.client: AirflowClient = stack.client()

    def run(self) -> dict[str, Any]:
        """Retrain, promote, score, score again, and return the printed figures."""
        migrations.migrate(self.engine)
        added = self._add_weights()
        conf: dict[str, Any] = {"recipes": [*SMALL_RECIPES, *added], "policy": "auto"}
        if self._choice.is_imagenet:
            conf |= {"recipes": [*SMALL_RECIPES], "overrides": {"initial_weights": "imagenet"}}
        conf["dataset_uri"] = str(self._upload_images())
        run_id = self._dag("weekly_retrain", conf)
        figures = self._show_models(run_id)
        write_demo_scans(
            self.store, S3Uri.parse(self.settings.require("scans_uri")), self._stack.state.folder, self._choice.night
        )
        self._dag("nightly_scoring", {})
        self._show_scoring_run()
        self._progress("\nSecond scoring run of the same files: nothing is new, and nothing is written twice.")
        self._dag("nightly_scoring", {})
        figures["nights"] = self._balances(2)
        self._progress(f"  {figures['nights'][0]}")
        return figures

    def _add_weights(self) -> list[str]:
        """Store the given weights files, and return the backbones that they fit.

        Raises:
            DemoError: a folder lacks the weights of a small recipe.
        """
        given = self._choice.weights
        if given is None:
            return []
        backbones: list[str] = []
        for path in sorted(given.glob("*.h5")) if given.is_dir() else [given]:
            backbones.append(add_weights(self.settings, path))
            self._progress(f"{path.name} holds the weights of {backbones[-1]}")
        missing = {Recipe.load(recipe).backbone for recipe in SMALL_RECIPES} - {*backbones}
        if given.is_dir() and missing:
            raise DemoError(
                f"{DEMO_WEIGHTS.name} names {given}, which has no .h5 file with the weights of "
                f"{' and '.join(sorted(missing))}. Add the files without their tops, as Keras stores them."
            )
        return backbones

    def _upload_images(self) -> S3Uri:
        """Upload phantoms to the dataset's prefix, or a given folder to its own prefix. So image sets never mix."""
        folder = self._choice.dataset or self._stack.state.folder / "phantoms"
        if self._choice.dataset is None:
            self._progress(f"Drawing {4 * PER_CLASS} phantoms")
            write_dataset(folder, per_class=PER_CLASS, seed=_SEED)
        files = labeled_files(folder)
        prefix = S3Uri.parse_prefix(self.settings.require("dataset_uri"))
        if self._choice.dataset is not None:
            own = sha256(str(self._choice.dataset.resolve()).encode()).hexdigest()[:8]
            prefix = S3Uri(bucket=prefix.bucket, key=f"datasets/{self._choice.dataset.resolve().name}-{own}/")
        upload(self.store, files, prefix)
        self._progress(f"{len(files)} labeled images in {prefix}")
        return prefix

    def _dag(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Trigger a DAG through the REST API, print its tasks' states, and wait for its end."""
        self._progress(f"\n{dag_id}: triggered {conf or ''}")
        started = time.monotonic()
        run_id = self.client.trigger(dag_id, conf)
        state = self.client.wait(dag_id, run_id, on_change=self._show_task, timeout_s=3600)
        if state != "success":
            logs = self.client.failure_logs(dag_id, run_id)
            ends = "\n".join(f"--- {label}\n" + "\n".join(log.splitlines()[-15:]) for label, log in logs.items())
            raise DemoError(f"{dag_id} ended as {state!r}. The end of each failed task's log:\n{ends}")
        self._progress(f"{dag_id}: {state} in {time.monotonic() - started:.0f} s")
        return run_id

    def _show_task(self, task: TaskState) -> None:
        if task.state in {"running", "success", "failed", "upstream_failed", "skipped", "up_for_retry"}:
            self._progress(f"  {time.strftime('%H:%M:%S')}  {task.label:24} {task.state}")

    def _show_models(self, run_id: str) -> dict[str, Any]:
        models = model_versions.trained_in(self.engine, run_id)
        self._progress("\nModels of this run (the candidate is selected on validation and judged on test):")
        self._progress(show_leaderboard(self.engine, models))
        for model in models:
            page = self._stack.state.folder / "s3" / model.artifact_uri.removeprefix("s3://") / "report.html"
            self._progress(f"Report and plots of {model.model_name}:")
            self._progress(f"  {os.path.relpath(page) if page.exists() else f'{model.artifact_uri}report.html'}")
        judgment = find_judgment(self.engine, run_id, model_versions.find_champion(self.engine))
        if judgment is None:
            raise DemoError(f"The run {run_id} has no verdict. See the log of its task `gate`.")
        candidate = judgment.candidate
        figures: dict[str, Any] = {"candidate": candidate.model_name, **self._baseline_figures(candidate)}
        self._progress(f"\nCandidate: {candidate.model_name}. Confusion matrix on the test split:")
        self._progress(show_confusion(self.engine, candidate))
        show_verdict(judgment, model_versions.find_champion(self.engine), self._progress)
        return figures

    def _baseline_figures(self, candidate: model_versions.ModelVersion) -> dict[str, Any]:
        """Print and return the accuracy of the candidate and that of a probe that sees no shapes.

        On phantoms, also compare the candidate's activation maps with the true lesions.
        """
        snapshot = load_snapshot(self.engine, candidate.snapshot_id)
        training, test = (
            load_frames(self.store, snapshot, split, size=candidate.image_size) for split in (Split.TRAIN, Split.TEST)
        )
        outputs = model_versions.load_model(self.store, self.settings, candidate).predict(test.frames)
        accuracy = float((outputs.probability.argmax(axis=1) == test.labels).mean())
        probe = thumbnail_probe(training, test)
        self._progress(
            f"\nTest accuracy of the candidate {accuracy:.3f}; of logistic regression on 8x8 thumbnails {probe:.3f}"
        )
        figures: dict[str, Any] = {"accuracy": accuracy, "probe": probe}
        if self._choice.dataset is None:
            hits = map_hits(test, outputs)
            self._progress(
                f"The activation map's strongest cell touches the lesion in {hits.share:.0%} of {hits.count} correct "
                "tumor predictions"
            )
            figures["map_hits"] = hits.share
        return figures

    def _show_scoring_run(self) -> None:
        self._progress(f"\nFirst scoring run: {self._balances(1)[0]}")
        self._progress(show_predictions(self.engine, limit=12))
        self._progress(show_rejections(self.engine))

    def _balances(self, count: int) -> list[str]:
        """Return the balances of the newest runs as text, newest first."""
        with database.transaction(self.engine) as connection:
            ids = connection.scalars(
                text("select scoring_run_id from scoring_run order by 1 desc limit :count"), {"count": count}
            ).all()
        return [str(count_balance(self.engine, load_run(self.engine, number))) for number in ids]


def show_verdict(
    judgment: Judgment, champion: model_versions.ModelVersion | None, progress: Callable[[str], None]
) -> None:
    """Print the gate's verdict and the champion.

    Raises:
        DemoError: the gate refused the candidate and there is no earlier champion.
    """
    progress(f"Gate: {judgment.verdict.summary}")
    for rule in judgment.verdict.failed:
        progress(f"  {rule.name}: {rule.reason}")
    if champion is None:
        raise DemoError(
            "The gate refused the candidate, for the reasons above, and there is no earlier champion, so nothing "
            "can be scored. Random weights rarely pass on real images. Set BRAINTUMOR_DEMO_WEIGHTS to "
            "`imagenet`, or to a folder of ImageNet weights."
        )
    progress(f"Champion: {champion.model_name}" + ("" if judgment.verdict.passed else ", of an earlier run"))


def run_demo(stack: Stack, *, progress: Callable[[str], None] = print) -> None:
    """Start the missing services, run the demo, stop those services, and print the duration."""
    started = time.monotonic()
    choice = Choice.from_environment()
    progress(choice.describe())
    choice.require_weights()
    with stack:
        progress(f"Airflow: {stack.airflow.url}  (admin / {stack.state.secrets.admin_password})")
        demo = Demo(stack, choice, progress)
        figures = demo.run()
        demo.engine.dispose()
        stack.state.write("demo", {**figures, "seconds": round(time.monotonic() - started)})
    progress(
        f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes. The services that the demo started are stopped. "
        "`make up` starts them again and keeps them running."
    )
