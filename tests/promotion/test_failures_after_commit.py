"""Test that a change of the champion is reported although a later step fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from tests.conftest import invoke
from tests.models import add_model, champions, promote
from tests.sql import change


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["rollback", "--to", "1", "--withdraw"], "is the champion again, after b"),
        (["withdraw", "b"], "b is withdrawn"),
        (["promote", "1", "--override"], "is the champion, overridden, after b"),
    ],
)
def test_status_change_is_reported_when_postgres_fails_later(
    settings: Settings, arguments: list[str], line: str
) -> None:
    add_model(settings, "b")
    promote(settings, "b")
    change(settings, "alter table evaluation rename to gone; alter view current_prediction rename to gone_too")
    done = invoke(settings, "model", *arguments, "--reason", "it errs")
    assert done.exit_code == 0, done.output
    assert champions(settings) != ["b"] and line in done.stdout
    assert "The report of b still shows its earlier status" in done.stderr


def test_invalid_s3_setting_is_reported_after_a_withdrawal(settings: Settings, tmp_path: Path) -> None:
    broken = replace(settings, s3_endpoint=str(tmp_path))
    done = invoke(broken, "model", "withdraw", "1", "--reason", "it errs")
    assert done.exit_code == 0 and champions(settings) == []
    assert "The reports still show the earlier status: The S3 settings are invalid" in done.stderr
