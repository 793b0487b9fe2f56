"""``braintumor model``."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from functools import partial

import click

from braintumor.cli.show import as_json, command_key, print_json, print_table
from braintumor.settings import Settings

_SHARE = click.FloatRange(0, 1)


@click.group()
def model() -> None:
    """Model versions: what there is, and which one answers."""


@model.command(name="list", epilog="Example: braintumor model list --json")
@as_json
def list_(is_json: bool) -> None:
    """Every model version, newest first; the champion is marked."""
    from braintumor import database
    from braintumor.registry import list_models

    models = list_models(database.connect(Settings.from_environment()))
    if is_json:
        print_json([asdict(item) for item in models])
        return
    print_table(
        ["champion", "model", "backbone", "weights", "size", "snapshot", "created"],
        [
            ["*" if m.is_champion else "", m.model_name, m.backbone, m.initialisation, m.image_size, m.snapshot_id,
             f"{m.created_at:%Y-%m-%d %H:%M}"]
            for m in models
        ],
    )  # fmt: skip


@model.command(epilog="Example: braintumor model evaluate resnet50-20261123T030000Z-3f2a9c")
@click.argument("name")
def evaluate(name: str) -> None:
    """Judge NAME on the validation and test splits of its snapshot, and write its report. Each look is counted."""
    from braintumor.evaluation.job import evaluate_model

    evaluate_model(Settings.from_environment(), name, look_key=command_key(), say=click.echo)


@model.command(epilog="Example: braintumor model card resnet50-20261123T030000Z-3f2a9c > model_card.md")
@click.argument("name")
def card(name: str) -> None:
    """Print the model card of NAME in Markdown: use, data, figures, limits, versions, files."""
    from braintumor import database
    from braintumor.evaluation.publish import card_of
    from braintumor.objectstore import ObjectStore
    from braintumor.registry import find_model

    settings = Settings.from_environment()
    engine = database.connect(settings)
    click.echo(card_of(engine, ObjectStore.connect(settings), find_model(engine, name)), nl=False)


@model.command(epilog="Example: braintumor model quantize resnet50-20261123T030000Z-3f2a9c")
@click.argument("name")
@click.option("--changed", default=0.02, show_default=True, type=_SHARE, help="Validation answers that may differ.")
@click.option("--lost", default=0.01, show_default=True, type=_SHARE, help="Validation accuracy that may be lost.")
def quantize(name: str, changed: float, lost: float) -> None:
    """Export NAME in 8 bits, judge it, and put it before the gate: a model version of its own, quicker on a CPU.

    Promotes nothing. Exit 1 when the export strays from NAME, or when the gate refuses it.
    """
    from braintumor.errors import PromotionError
    from braintumor.evaluation.job import evaluate_model
    from braintumor.evaluation.selection import judge_run
    from braintumor.modelling.quantisation import Bounds, quantise_model

    settings = Settings.from_environment()
    say = partial(click.echo, err=True)
    made, run_key = quantise_model(settings, name, bounds=Bounds(changed=changed, lost=lost), say=say)
    evaluate_model(settings, made.model_name, look_key=run_key, say=say)
    verdict = judge_run(settings, run_key)
    click.echo(verdict["markdown"])
    if not verdict["is_passed"]:
        raise PromotionError(f"The gate refuses {made.model_name}, for the reasons above. {name} goes on.")


@model.command(epilog='Example: braintumor model promote 3 --override --reason "gate floor is wrong for this site"')
@click.argument("name")
@click.option("--reason", required=True, help="Why, for the ledger.")
@click.option("--override", "is_override", is_flag=True, help="Promote although the gate refused, or never saw it.")
def promote(name: str, reason: str, is_override: bool) -> None:
    """Make NAME the champion. What the gate did not pass needs --override, which the ledger keeps."""
    from braintumor import database
    from braintumor.evaluation.promotion import passed_verdict
    from braintumor.registry import find_model
    from braintumor.registry import promote as promote_model

    engine = database.connect(Settings.from_environment())
    found = find_model(engine, name)
    verdict_id = None if is_override else passed_verdict(engine, found)
    promote_model(
        engine,
        found,
        request_key=command_key(),
        actor=getpass.getuser(),
        reason=reason,
        gate_verdict_id=verdict_id,
        is_override=is_override,
    )
    click.echo(f"{found.model_name} is the champion")
