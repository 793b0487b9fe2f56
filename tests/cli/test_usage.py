"""Test which options, times and folders commands accept, and the errors for others."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from braintumor.cli import command
from braintumor.cli.show import print_json
from braintumor.cli.times import as_time
from braintumor.config.settings import Settings
from devstack.envfile import write
from devstack.errors import StackError
from tests.conftest import invoke


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["migrate", "--plan", "--dictionary"], "--plan applies nothing, so it has no use for --dictionary"),
        (["migrate", "--plan", "--drop-dependents"], "--plan applies nothing, so it has no use for --drop-dependents"),
        (["config", "show", "--json", "--markdown"], "Give one of the two"),
        (["rescore", "--reason", "r", "--since", "soon"], "'soon' is not a time. Allowed: 2026-11-23"),
        (["model", "champion", "--at", "soon"], "Invalid value for '--at'"),
    ],
)
def test_wrong_usage_is_refused_with_the_remedy(arguments: list[str], words: str) -> None:
    done = invoke(Settings(), *arguments)
    assert done.exit_code == 2 and words in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T07:00", datetime(2026, 11, 23, 7, tzinfo=UTC)),
        ("2026-11-23 07:00", datetime(2026, 11, 23, 7, tzinfo=UTC)),
        ("2026-11-23T07:00:05+01:00", datetime(2026, 11, 23, 7, 0, 5, tzinfo=timezone(timedelta(hours=1)))),
    ],
)
def test_each_command_accepts_times_of_iso_8601(text: str, time: datetime) -> None:
    context = click.Context(command)
    for noun, verb, option in [("rescore", None, "since"), ("rescore", None, "until"), ("model", "champion", "at")]:
        found = command.get_command(context, noun)
        if verb and isinstance(found, click.Group):
            found = found.get_command(context, verb)
        assert found is not None
        (parameter,) = [each for each in found.params if each.name == option]
        assert parameter.callback is as_time and parameter.callback(context, parameter, text) == time


def test_json_has_times_in_iso_8601(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"at": datetime(2026, 11, 23, 7, tzinfo=UTC), "day": date(2026, 11, 23), "path": Path("a")})
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"at": "2026-11-23T07:00:00+00:00", "day": "2026-11-23", "path": "a"}


def test_unwritable_folder_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "p"
    done = invoke(Settings(), "dev", "make-phantoms", str(folder), "--per-class", "1")
    assert done.exit_code == 2 and "Invalid value for FOLDER" in done.output and "cannot be written" in done.output
    with pytest.raises(StackError, match=r"file/p cannot be written: Not a directory\. Name a file in a writable"):
        write(folder)


def test_create_bucket_uses_the_airflow_connection(empty_settings: Settings) -> None:
    store = {
        "conn_type": "aws",
        "login": empty_settings.s3_access_key,
        "password": empty_settings.s3_secret_key,
        "extra": {"endpoint_url": empty_settings.s3_endpoint},
    }
    unset = dict.fromkeys(("BRAINTUMOR_S3_ENDPOINT", "BRAINTUMOR_S3_ACCESS_KEY", "BRAINTUMOR_S3_SECRET_KEY"), "")
    environment = unset | {"AIRFLOW_CONN_BRAINTUMOR_S3": json.dumps(store)}
    done = CliRunner().invoke(command, ["dev", "create-bucket"], env=environment)
    assert done.stdout == "exists already: bucket braintumor\n", done.output
