"""Define the command ``braintumor model``. ``cli.model_lifecycle`` has the verbs that change a model's status."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from braintumor.cli import model_lifecycle
from braintumor.cli.model_names import model_argument
from braintumor.cli.show import as_json, command_key, print_json, print_table, unwritable
from braintumor.cli.times import as_time
from braintumor.config.airflow_connections import settings_of
from braintumor.config.settings import Settings

if TYPE_CHECKING:
    from braintumor.evaluation.compare_models import Comparison
    from braintumor.evaluation.model_history import ModelHistory, RecordedVerdict
    from braintumor.registry.model_versions import ModelVersion

_SHARE = click.FloatRange(0, 1)


@click.group()
def model() -> None:
    """List, evaluate and promote model versions."""


for _command in (
    model_lifecycle.promote,
    model_lifecycle.rollback,
    model_lifecycle.withdraw,
    model_lifecycle.reference,
    model_lifecycle.prune,
):
    model.add_command(_command)


@model.command(name="list", epilog="Example: braintumor model list --json")
@as_json
def list_(is_json: bool) -> None:
    """List model versions with their status, newest first.

    The status is champion, overridden, withdrawn or pruned.
    """
    from braintumor.db import database
    from braintumor.registry.model_versions import list_models

    models = list_models(database.connect(settings_of("trainer")))
    if is_json:
        print_json([asdict(item) | {"standing": item.standing} for item in models])
        return
    print_table(
        ["champion", "model", "backbone", "weights", "size", "snapshot", "created", "standing"],
        [
            ["*" if m.is_champion else "", m.model_name, m.backbone, m.initialization, m.image_size, m.snapshot_id,
             f"{m.created_at:%Y-%m-%d %H:%M}", m.standing]
            for m in models
        ],
    )  # fmt: skip


@model.command(epilog="Example: braintumor model show resnet50-20261123T030000Z-3f2a9c")
@model_argument()
@as_json
def show(name: str, is_json: bool) -> None:
    """Show the history of the model NAME.

    The history has training, metrics, test-set evaluations, verdicts with reasons, and promotions.
    """
    from braintumor.db import database
    from braintumor.evaluation.model_history import history_of
    from braintumor.registry.model_versions import find_model

    engine = database.connect(settings_of("trainer"))
    history = history_of(engine, find_model(engine, name))
    if is_json:
        print_json(history.to_dict())
    else:
        _print_history(history)


@model.command(epilog='Example: braintumor model champion --at "2026-11-23 07:00"')
@click.option("--at", metavar="TIME", callback=as_time, help="ISO 8601, in UTC unless it has an offset. Default: now.")
@as_json
def champion(at: datetime | None, is_json: bool) -> None:
    """Show the champion, now or at an earlier time. The exit code is 1 if there was no champion."""
    from braintumor.db import database
    from braintumor.errors import NoChampionError
    from braintumor.registry.model_versions import champion as champion_now
    from braintumor.registry.promotions import champion_at

    engine = database.connect(settings_of("trainer"))
    model = champion_now(engine) if at is None else champion_at(engine, at)
    if model is None:
        raise NoChampionError(f"There was no champion at {at}. `braintumor model list` shows all models.")
    if is_json:
        print_json(asdict(model) | {"standing": model.standing})
    else:
        click.echo(model.model_name + (f" (now: {model.standing})" if model.standing != "champion" else ""))


@model.command(
    epilog="Example: braintumor model compare vgg16-20261116T030000Z-77aa01 resnet50-20261123T030000Z-3f2a9c"
)
@model_argument("a")
@model_argument("b")
@as_json
def compare(a: str, b: str, is_json: bool) -> None:
    """Compare the models A and B on the same test images.

    The images are the test split of the newest snapshot on which both models were evaluated.
    """
    from braintumor.db import database
    from braintumor.evaluation.compare_models import compare as compare_models
    from braintumor.registry.model_versions import find_model

    engine = database.connect(settings_of("trainer"))
    comparison = compare_models(engine, find_model(engine, a), find_model(engine, b))
    if is_json:
        print_json(comparison.to_dict())
    else:
        _print_comparison(comparison)


@model.command(epilog="Example: braintumor model evaluate resnet50-20261123T030000Z-3f2a9c")
@model_argument()
@click.option("--snapshot", help="Evaluate on the test split of another snapshot, for a comparison, without a report.")
def evaluate(name: str, snapshot: str | None) -> None:
    """Evaluate the model NAME, and write its report.

    The command evaluates the validation and test splits of the model's snapshot. Each evaluation on a test split is
    counted.
    """
    from braintumor.evaluation.evaluate_model import evaluate_model, evaluate_on

    settings = settings_of("trainer")
    if snapshot is None:
        evaluate_model(settings, name, access_key=command_key(), progress=click.echo)
        return
    result = evaluate_on(settings, name, snapshot, access_key=command_key())
    accuracy = f"{result.evaluation.accuracy:.3f}"
    click.echo(f"{name} on test of {snapshot}: accuracy {accuracy}, test-set evaluation {result.count_access}")


@model.command(epilog="Example: braintumor model card resnet50-20261123T030000Z-3f2a9c > model_card.md")
@model_argument()
def card(name: str) -> None:
    """Print the model card of the model NAME in Markdown.

    The card states use, data, metrics, limits, versions and files.
    """
    from braintumor.db import database
    from braintumor.evaluation.report.publish import card_of
    from braintumor.registry.model_versions import find_model
    from braintumor.s3 import ObjectStore

    settings = settings_of("trainer")
    engine = database.connect(settings)
    click.echo(card_of(engine, ObjectStore.connect(settings), find_model(engine, name)), nl=False)


@model.command(epilog="Example: braintumor model evidence resnet50-20261123T030000Z-3f2a9c --intended-use use.txt")
@model_argument()
@click.option(
    "--intended-use",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text file (UTF-8) with the site's own intended use.",
)
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="Write the files here instead of to S3."
)
@as_json
def evidence(name: str, intended_use: Path | None, folder: Path | None, is_json: bool) -> None:
    """Write the evidence report of the model NAME, for a change-control board.

    The report is a page and a JSON file, from rows of the database only. It has data, versions, verdict, accuracy,
    subgroups, alarms and decisions. It states which items of TRIPOD+AI, CLAIM 2024 and a change control plan it fills.
    """
    from braintumor.db import database
    from braintumor.evaluation.evidence.publish import evidence_report, publish_evidence
    from braintumor.evaluation.report.publish import refresh_reports
    from braintumor.registry.model_versions import find_model
    from braintumor.s3 import ObjectStore

    settings = settings_of("trainer")
    engine = database.connect(settings)
    found = find_model(engine, name)
    report = evidence_report(engine, found, site_use=_text_of(intended_use))
    if folder is None:
        store = ObjectStore.connect(settings)
        files = publish_evidence(engine, store, found, report)
        for problem in refresh_reports(engine, store, [found]):  # the model's report links to it
            click.echo(problem, err=True)
    else:
        try:
            files = report.write(folder)
        except OSError as exc:
            raise unwritable(folder, exc, option="--folder") from exc
    if is_json:
        print_json({"files": files, "json_sha256": report.json_sha256})
    else:
        click.echo("\n".join([*files, f"SHA-256 of the JSON file: {report.json_sha256}"]))


def _text_of(path: Path | None) -> str:
    try:
        return "" if path is None else path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        message = f"{path} cannot be read as UTF-8 text. Give a text file."
        raise click.BadParameter(message, param_hint="--intended-use") from exc


@model.command(epilog="Example: braintumor model verify resnet50-20261123T030000Z-3f2a9c")
@model_argument()
@click.option("--no-parity", is_flag=True, help="Skip the comparison with Keras, which needs TensorFlow.")
@as_json
def verify(name: str, no_parity: bool, is_json: bool) -> None:
    """Check files, graph, classes and predictions of the model NAME. The exit code is 1 if a check fails.

    The command also compares the predictions with Keras, unless --no-parity is given.
    """
    from braintumor.evaluation.gate.artifact_checks import verify_model

    outcomes = verify_model(settings_of("trainer"), name, with_keras=not no_parity)
    if is_json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        rows = [[o.name, "passed" if o.passed else "FAILED", o.reason] for o in outcomes]
        print_table(["check", "outcome", "reason"], rows)
    sys.exit(0 if all(outcome.passed for outcome in outcomes) else 1)


@model.command(epilog="Example: braintumor model quantize resnet50-20261123T030000Z-3f2a9c")
@model_argument()
@click.option(
    "--max-changed",
    default=0.02,
    show_default=True,
    type=_SHARE,
    help="Share of validation predictions that may differ.",
)
@click.option(
    "--max-accuracy-loss", default=0.01, show_default=True, type=_SHARE, help="Largest loss of validation accuracy."
)
def quantize(name: str, max_changed: float, max_accuracy_loss: float) -> None:
    """Export the model NAME in 8 bits as a new model version.

    An 8-bit model is faster on a CPU. The command evaluates the new version and applies the gate, but promotes nothing.
    The exit code is 1 if the new version deviates too far from NAME, or if the gate refuses it.
    """
    from braintumor.progress import show_lines
    from braintumor.training.export.quantize import Bounds, quantize_model

    settings = settings_of("trainer")
    show_lines(sys.stderr, "braintumor.training")
    made, run_key = quantize_model(settings, name, bounds=Bounds(changed=max_changed, lost=max_accuracy_loss))
    _evaluate_and_judge(settings, made, run_key, name, what="in 8 bits")


@model.command(epilog="Example: braintumor model recalibrate resnet50-20261123T030000Z-3f2a9c")
@model_argument()
def recalibrate(name: str) -> None:
    """Propose prediction sets for the model NAME that are fitted on blind reviews of the audit sample.

    The proposal is a new model version with the same weights. The command evaluates it and applies the gate, but
    promotes nothing: `braintumor model promote` approves it. The exit code is 1 if a class has too few blind reviews,
    or if the gate refuses the new version.
    """
    from braintumor.training.recalibrate import recalibrate as register_recalibrated

    settings = settings_of("trainer")
    made, run_key = register_recalibrated(settings, name)
    _evaluate_and_judge(settings, made, run_key, name, what="with recalibrated prediction sets")


def _evaluate_and_judge(settings: Settings, made: ModelVersion, run_key: str, name: str, *, what: str) -> None:
    """Evaluate the version ``made``, which is the model ``name`` ``what``, and print the gate's verdict on it."""
    from braintumor.db import database
    from braintumor.errors import PromotionError
    from braintumor.evaluation.evaluate_model import evaluate_model
    from braintumor.evaluation.judge_run import judge_run
    from braintumor.evaluation.model_history import history_of

    evaluate_model(settings, made.model_name, access_key=run_key, progress=partial(click.echo, err=True))
    is_passed = judge_run(settings, run_key)["is_passed"]
    click.echo(f"{made.model_name} is {name} {what}, registered in {made.artifact_uri}")
    _print_verdict(history_of(database.connect(settings), made).verdicts[-1])
    if not is_passed:
        raise PromotionError(f"The gate refuses {made.model_name}, for the reasons above. {name} is unchanged.")
    click.echo(f'\nNothing was promoted. To promote it: braintumor model promote {made.model_name} --reason "..."')


def _print_history(history: ModelHistory) -> None:
    _print_facts(history)
    _section(
        "Metrics",
        ["snapshot", "split", "images", "accuracy", "95% interval", "recall", "F1", "calibration error", "evaluations"],
        [
            [e.snapshot_id, e.split, e.count_image, f"{e.accuracy:.3f}",
             f"{e.accuracy_low:.3f} to {e.accuracy_high:.3f}", f"{e.macro_recall:.3f}", f"{e.macro_f1:.3f}",
             f"{e.expected_calibration_error:.3f}", e.count_access]
            for e in history.evaluations
        ],
    )  # fmt: skip
    _section(
        "Test-set evaluations",
        ["when", "snapshot", "requested by"],
        [
            [f"{access.accessed_at:%Y-%m-%d %H:%M}", access.snapshot_id, access.access_key]
            for access in history.test_set_accesses
        ],
    )
    for judged in history.verdicts:
        _print_verdict(judged)
    _section(
        "Promotion history",
        ["when", "action", "by", "overridden", "reason"],
        [
            [
                f"{act.acted_at:%Y-%m-%d %H:%M}",
                act.action,
                act.actor,
                "overridden" if act.is_override else "",
                act.reason,
            ]
            for act in history.promotions
        ],
    )


def _print_verdict(judged: RecordedVerdict) -> None:
    click.echo(f"\n{judged.verdict.summary} ({judged.judged_at:%Y-%m-%d %H:%M}, run {judged.run_key}, champion "
               f"then: {judged.champion or 'none'})")  # fmt: skip
    if judged.verdict.memory is not None:
        click.echo("\n".join(judged.verdict.memory.sentences))
    print_table(
        ["rule", "outcome", "reason"],
        [
            [rule.name, "passed" if rule.passed else "FAILED", rule.reason]
            for rule in sorted(judged.verdict.rules, key=lambda rule: rule.passed)
        ],
    )


def _print_facts(history: ModelHistory) -> None:
    from braintumor.evaluation.report.formatting import recipe

    m, training = history.model, history.training
    facts = {
        "model": f"{m.model_name} (number {m.model_version_id})",
        "standing": m.standing or "never promoted",
        "backbone": f"{m.backbone}, {m.precision}, {m.image_size} x {m.image_size} pixels, {m.preprocessing}",
        "recipe": recipe(m.recipe_name, m.recipe_override),
        "training": f"from {m.initialization} weights on snapshot {m.snapshot_id}",
        "trained": f"{training.finished_at:%Y-%m-%d %H:%M} in {training.seconds:.0f} s on {training.device}",
        "run": f"{training.run_key}, code {training.code_version}",
        "files": m.artifact_uri,
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name:{width}}  {value}")


def _section(title: str, columns: list[str], rows: list[list[object]]) -> None:
    click.echo(f"\n{title}" + ("" if rows else ": none"))
    if rows:
        print_table(columns, rows)


def _print_comparison(c: Comparison) -> None:
    click.echo(f"{c.all.count} test images of snapshot {c.snapshot_id}")
    click.echo(f"A  {c.name_a}: accuracy {c.all.a:.3f}")
    click.echo(f"B  {c.name_b}: accuracy {c.all.b:.3f}, {c.difference:+.3f}")
    click.echo(f"right: both {c.all.both}, only A {c.all.only_a}, only B {c.all.only_b}, neither {c.all.neither}\n")
    print_table(
        ["class", "images", "recall of A", "recall of B", "only A right", "only B right"],
        [
            [label, counts.count, f"{counts.a:.3f}", f"{counts.b:.3f}", counts.only_a, counts.only_b]
            for label, counts in c.by_class.items()
        ],
    )
