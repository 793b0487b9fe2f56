"""The verbs of ``braintumor model`` that write to the ledger: promote, rollback, withdraw, prune."""

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

_NOBODY_TOLD = (
    "This command tells nobody. The DAG roll_back tells people: it rolls back, and withdraws today's champion if asked"
)


def _said(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("The ledger keeps why: say it in a few words.")
    return value


_reason = click.option("--reason", required=True, callback=_said, help="Why, for the ledger.")


@click.command(epilog='Example: braintumor model promote 3 --override --reason "gate floor is wrong for this site"')
@model_argument()
@_reason
@click.option(
    "--override", "is_override", is_flag=True,
    help="Promote although the gate refused or never saw it, or although it was withdrawn.",
)  # fmt: skip
@as_json
def promote(name: str, reason: str, is_override: bool, is_json: bool) -> None:
    """Make NAME the champion. What the gate did not pass needs --override, which then shows everywhere.

    A model that is not whole is refused either way: `braintumor model verify NAME` says why.
    """
    from braintumor.db import database
    from braintumor.evaluation.gate.artifact_checks import require_valid_artifact
    from braintumor.promotion.promote import passed_verdict
    from braintumor.registry import promotions
    from braintumor.registry.model_versions import find_champion, find_model

    settings = settings_of("promoter")
    engine = database.connect(settings)
    found, before = find_model(engine, name), find_champion(engine)
    verdict_id = None if is_override else passed_verdict(engine, found)
    require_valid_artifact(settings, found)
    promotions.promote(
        engine,
        found,
        request_key=command_key(),
        actor=getpass.getuser(),
        reason=reason,
        gate_verdict_id=verdict_id,
        is_override=is_override,
    )
    words = f"{found.model_name} is the champion" + (", overridden" if is_override else "")
    _say(is_json, {"champion": found.model_name, "is_override": is_override}, [words])
    _refresh(settings, engine, found, before)


@click.command(epilog='Example: braintumor model rollback --withdraw --reason "calls tumors normal since Monday"')
@click.option(
    "--to", "to_name", metavar="NAME", shell_complete=complete,
    help="A former champion; without it, the one before today's. A script names it: asked twice, it is done once.",
)  # fmt: skip
@_reason
@click.option("--withdraw", "with_withdrawal", is_flag=True, help="Also withdraw today's champion.")
@as_json
def rollback(to_name: str | None, reason: str, with_withdrawal: bool, is_json: bool) -> None:
    """Make an earlier champion the champion again. A night that is at work goes on with the model it began with.

    Its files are fetched and loaded first; where they are gone or damaged, nothing is changed.
    """
    from braintumor.db import database
    from braintumor.promotion.promote import roll_back

    settings = settings_of("promoter")
    done = roll_back(
        settings,
        to=to_name,
        request_key=command_key(),
        actor=getpass.getuser(),
        reason=reason,
        with_withdrawal=with_withdrawal,
        say=partial(click.echo, err=True),
    )
    name = done.champion.model_name
    if done.replaced is None:
        words = f"{name} is the champion already: nothing was changed" + (" or withdrawn" if with_withdrawal else "")
        _say(is_json, {"champion": name, "replaced": None}, [words])
        return
    values: dict[str, Any] = {
        "champion": name,
        "replaced": done.replaced.model_name,
        "standing": done.champion.standing,
    }
    lines = [f"{name} is the champion again, after {done.replaced.model_name}"]
    if with_withdrawal:
        told = _withdrawn(database.connect(settings), done.replaced)
        values, lines = values | told[0], lines + told[1]
    _say(is_json, values, [*lines, _NOBODY_TOLD])


@click.command(epilog='Example: braintumor model withdraw 3 --reason "trained on mislabeled images"')
@model_argument()
@_reason
@as_json
def withdraw(name: str, reason: str, is_json: bool) -> None:
    """Withdraw NAME: its answers return to the worklist, and only an override can promote it again.

    Withdrawing the champion leaves none, and no night is scored until there is one: `rollback --withdraw` does both.
    """
    from braintumor.db import database
    from braintumor.registry import promotions
    from braintumor.registry.model_versions import find_model

    settings = settings_of("promoter")
    engine = database.connect(settings)
    found = find_model(engine, name)
    added = promotions.withdraw(engine, found, actor=getpass.getuser(), reason=reason)
    values, lines = _withdrawn(engine, found)
    if not added:
        lines.insert(0, f"{found.model_name} was withdrawn before: nothing was changed")
    if found.is_champion:
        lines.append(
            "It was the champion, so nobody is: no night is scored until `braintumor model rollback` or `promote`"
        )
    _say(is_json, values, [*lines, _NOBODY_TOLD] if added else lines)
    _refresh(settings, engine, found)


@click.command(epilog="Example: braintumor model prune --older-than-days 90 --dry-run")
@click.option("--older-than-days", type=click.IntRange(min=1), default=90, show_default=True, help="Keep younger ones.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would be deleted.")
@as_json
def prune(older_than_days: int, is_dry: bool, is_json: bool) -> None:
    """Delete the files of old candidates that never answered; their rows and reports stay.

    Kept: every champion, past and present, every model that a run was pinned to or an answer comes from, and what was
    trained or passed by the gate within these days.
    """
    from braintumor.db import database
    from braintumor.evaluation.report.formatting import size
    from braintumor.registry.retention import prunable
    from braintumor.registry.retention import prune as prune_models
    from braintumor.s3 import ObjectStore

    settings = settings_of("promoter")
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    if is_dry:
        found = prunable(engine, store, older_than_days=older_than_days)
    else:
        found = prune_models(engine, store, actor=getpass.getuser(), older_than_days=older_than_days)
    if is_json:
        print_json([asdict(item) for item in found])
        return
    if found:
        print_table(
            ["model", "created", "files", "size"],
            [[f.model_name, f"{f.created_at:%Y-%m-%d}", f.count_file, size(f.count_byte)] for f in found],
        )
    verb = "would be pruned" if is_dry else "pruned"
    click.echo(f"{len(found)} models {verb}, {size(sum(f.count_byte for f in found)) if found else '0 B'}")


def _withdrawn(engine: Engine, model: ModelVersion) -> tuple[dict[str, Any], list[str]]:
    """What a withdrawal means for people who read answers, as values and in words."""
    from braintumor.registry.promotions import current_predictions

    standing = current_predictions(engine, model)
    values: dict[str, Any] = {"withdrawn": model.model_name, **asdict(standing)}
    lines = [
        f"{model.model_name} is withdrawn: {standing.count_frame} standing answers on {standing.count_scan} scans have "
        "the review reason model_withdrawn and are back on the worklist"
    ]
    if standing.count_scan:
        offered = f'braintumor rescore --predicted-by {model.model_name} --reason "its model was withdrawn"'
        values["rescore_command"] = offered
        lines.append(
            "Which: select scan_id from braintumor.current_prediction where 'model_withdrawn' = any(review_reasons). "
            "To "
            f"have the champion answer them instead, and see what changes: {offered}"
        )
    return values, lines


def _say(is_json: bool, values: dict[str, Any], lines: list[str]) -> None:
    if is_json:
        print_json(values)
    else:
        click.echo("\n".join(lines))


def _refresh(settings: Settings, engine: Engine, *models: ModelVersion | None) -> None:
    """Reports show where a model stands. The ledger has committed, so a report that S3 does not take is only said."""
    from braintumor.evaluation.report.publish import refresh_reports
    from braintumor.s3 import ObjectStore

    store = ObjectStore.connect(settings)
    for problem in refresh_reports(engine, store, [model for model in models if model is not None]):
        click.echo(problem, err=True)
