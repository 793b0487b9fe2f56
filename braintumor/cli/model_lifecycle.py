"""Define the verbs of ``braintumor model`` that change a status: promote, rollback, withdraw, reference, prune."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from braintumor.cli.model_names import complete, model_argument
from braintumor.cli.show import as_json, command_key, print_json, print_table
from braintumor.config.airflow_connections import settings_of
from braintumor.config.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from braintumor.registry.model_versions import ModelVersion

_NO_NOTIFICATION = (
    "This command sends no notification. The DAG roll_back does, and can also withdraw the current champion"
)


def _non_empty(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("The reason is empty. The promotion history stores it: give a few words.")
    return value


_reason = click.option("--reason", required=True, callback=_non_empty, help="Reason, for the promotion history.")


@click.command(epilog='Example: braintumor model promote 3 --override --reason "gate bound is wrong for this site"')
@model_argument()
@_reason
@click.option(
    "--override", "is_override", is_flag=True,
    help="Promote although the gate refused or never checked it, or although it was withdrawn.",
)  # fmt: skip
@as_json
def promote(name: str, reason: str, is_override: bool, is_json: bool) -> None:
    """Make the model NAME the champion.

    A model that the gate did not pass needs --override. All reports show the override. A model with missing or damaged
    files is always refused. `braintumor model verify NAME` shows the reason.
    """
    from braintumor.db import database
    from braintumor.evaluation.gate.artifact_checks import require_valid_artifact
    from braintumor.promotion.promote import passed_verdict
    from braintumor.registry import promotions
    from braintumor.registry.model_versions import find_champion, find_model

    settings = settings_of("promoter")
    engine = database.connect(settings)
    model, before = find_model(engine, name), find_champion(engine)
    verdict_id = None if is_override else passed_verdict(engine, model)
    require_valid_artifact(settings, model)
    promotions.promote(
        engine,
        model,
        promotions.PromotionRequest(request_key=command_key(), actor=getpass.getuser(), reason=reason),
        gate_verdict_id=verdict_id,
        is_override=is_override,
    )
    replaced = f", after {before.model_name}" if before and before.model_name != model.model_name else ""
    line = f"{model.model_name} is the champion" + (", overridden" if is_override else "") + replaced
    values = {"champion": model.model_name, "is_override": is_override}
    _print(is_json, values, [line, "The next scoring run uses it. This command sends no notification."])
    _refresh(settings, model, before)


@click.command(epilog='Example: braintumor model rollback --withdraw --reason "calls tumors normal since Monday"')
@click.option(
    "--to", "to_name", metavar="NAME", shell_complete=complete,
    help="A former champion. Default: the previous one. With a name, a repeated call changes nothing.",
)  # fmt: skip
@_reason
@click.option("--withdraw", "with_withdrawal", is_flag=True, help="Also withdraw the current champion.")
@as_json
def rollback(to_name: str | None, reason: str, with_withdrawal: bool, is_json: bool) -> None:
    """Make an earlier champion the champion again. A scoring run in progress keeps its model.

    The command first fetches and loads the files of the earlier champion. If the files are missing or damaged, nothing
    changes.
    """
    from braintumor.db import database
    from braintumor.promotion.promote import roll_back
    from braintumor.registry.promotions import PromotionRequest

    settings = settings_of("promoter")
    done = roll_back(
        settings,
        PromotionRequest(request_key=command_key(), actor=getpass.getuser(), reason=reason),
        to=to_name,
        with_withdrawal=with_withdrawal,
    )
    name = done.champion.model_name
    if done.replaced is None:
        line = f"{name} is the champion already: nothing was changed" + (" or withdrawn" if with_withdrawal else "")
        _print(is_json, {"champion": name, "replaced": None}, [line])
        return
    values: dict[str, Any] = {
        "champion": name,
        "replaced": done.replaced.model_name,
        "standing": done.champion.standing,
    }
    lines = [f"{name} is the champion again, after {done.replaced.model_name}"]
    if with_withdrawal:
        more_values, more_lines = _withdrawn(database.connect(settings), done.replaced)
        values, lines = values | more_values, lines + more_lines
    _print(is_json, values, [*lines, _NO_NOTIFICATION])
    _refresh(settings, done.champion, done.replaced)


@click.command(epilog='Example: braintumor model withdraw 3 --reason "trained on mislabeled images"')
@model_argument()
@_reason
@as_json
def withdraw(name: str, reason: str, is_json: bool) -> None:
    """Withdraw the model NAME. Its unsettled predictions move up on the worklist.

    Only an override can promote a withdrawn model again. Without a champion no scoring run starts. To replace a
    withdrawn champion at once, use `rollback --withdraw`.
    """
    from braintumor.db import database
    from braintumor.registry import promotions
    from braintumor.registry.model_versions import find_model

    settings = settings_of("promoter")
    engine = database.connect(settings)
    model = find_model(engine, name)
    is_new = promotions.withdraw(engine, model, actor=getpass.getuser(), reason=reason)
    values, lines = _withdrawn(engine, model)
    if not is_new:
        lines.insert(0, f"{model.model_name} was withdrawn before: nothing was changed")
    if model.is_champion:
        lines.append("It was the champion. No scoring run starts until `braintumor model rollback` or `promote`")
    _print(is_json, values, [*lines, _NO_NOTIFICATION] if is_new else lines)
    _refresh(settings, model)


@click.command(epilog='Example: braintumor model reference 3 --reason "validated at this site in May"')
@model_argument()
@_reason
@as_json
def reference(name: str, reason: str, is_json: bool) -> None:
    """Make the model NAME the reference model of the gate.

    The gate compares each candidate with the champion and with the reference model. The next verdict uses the new
    reference. A champion that is shown to be better than the reference becomes the reference without this command.
    """
    from braintumor.db import database
    from braintumor.registry.model_versions import find_model
    from braintumor.registry.reference_model import name_reference

    engine = database.connect(settings_of("promoter"))
    model = find_model(engine, name)
    is_new = name_reference(engine, model, actor=getpass.getuser(), reason=reason)
    line = f"{model.model_name} is the reference model" + ("" if is_new else " already: nothing was changed")
    _print(is_json, {"reference": model.model_name, "is_new": is_new}, [line])


@click.command(epilog="Example: braintumor model prune --older-than-days 90 --dry-run")
@click.option(
    "--older-than-days", type=click.IntRange(min=1), default=90, show_default=True, help="Keep younger models."
)
@click.option("--dry-run", "is_dry", is_flag=True, help="List the files and delete none.")
@as_json
def prune(older_than_days: int, is_dry: bool, is_json: bool) -> None:
    """Delete the files of old candidates never used for scoring.

    The rows and reports of these models stay. The command keeps current and former champions, and all models that a
    run or a prediction names. It also keeps models whose training or passed gate is not older than --older-than-days.
    """
    from braintumor.db import database
    from braintumor.evaluation.report.formatting import size
    from braintumor.registry.retention import prunable
    from braintumor.registry.retention import prune as prune_models
    from braintumor.s3 import ObjectStore

    settings = settings_of("promoter")
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    if is_dry:
        models = prunable(engine, store, older_than_days=older_than_days)
    else:
        models = prune_models(engine, store, actor=getpass.getuser(), older_than_days=older_than_days)
    if is_json:
        print_json([asdict(item) for item in models])
        return
    if models:
        print_table(
            ["model", "created", "files", "size"],
            [[m.model_name, f"{m.created_at:%Y-%m-%d}", m.count_file, size(m.count_byte)] for m in models],
        )
    verb = "would be pruned" if is_dry else "pruned"
    click.echo(f"{len(models)} models {verb}, {size(sum(m.count_byte for m in models)) if models else '0 B'}")


def _withdrawn(engine: Engine, model: ModelVersion) -> tuple[dict[str, Any], list[str]]:
    """Return the effect of a withdrawal on current predictions, as values for JSON and as lines of text.

    If Postgres fails, the effect is missing, because the withdrawal is already committed.
    """
    from braintumor.errors import DatabaseError
    from braintumor.registry.promotions import current_predictions

    try:
        current = current_predictions(engine, model)
    except DatabaseError as error:
        lines = [f"{model.model_name} is withdrawn. Its current predictions could not be counted: {error}"]
        return {"withdrawn": model.model_name}, lines
    values: dict[str, Any] = {"withdrawn": model.model_name, **asdict(current)}
    lines = [
        f"{model.model_name} is withdrawn: {current.count_frame} current predictions on {current.count_scan} scans "
        "have the review reason model_withdrawn. Those that reviewers have not settled move up on the worklist"
    ]
    if current.count_scan:
        command = f'braintumor rescore --predicted-by {model.model_name} --reason "its model was withdrawn"'
        values["rescore_command"] = command
        lines.append(
            "To list them: select scan_id from braintumor.current_prediction where 'model_withdrawn' = "
            f"any(review_reasons). To let the champion predict them instead and see the changes: {command}"
        )
    return values, lines


def _print(is_json: bool, values: dict[str, Any], lines: list[str]) -> None:
    if is_json:
        print_json(values)
    else:
        click.echo("\n".join(lines))


def _refresh(settings: Settings, *models: ModelVersion | None) -> None:
    """Rewrite the reports of models whose status has changed. A problem is printed and raises no error."""
    from braintumor.promotion.promote import refresh

    refresh(settings, models, warn=partial(click.echo, err=True))
