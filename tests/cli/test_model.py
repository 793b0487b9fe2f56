"""Test the command ``braintumor model``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from tests.conftest import Put, run_braintumor
from tests.images import png
from tests.loaded_modules import loaded_modules, show_help
from tests.models import add_model, champions, pass_gate, promote

pytestmark = pytest.mark.soak


@pytest.fixture
def two(settings: Settings) -> Settings:
    """Return settings with two models: the tests' champion, then ``b``, promoted with an override."""
    add_model(settings, "b")
    promote(settings, "b")
    return settings


def model(settings: Settings, *arguments: str, code: int = 0) -> str:
    done = run_braintumor(settings, "model", *arguments, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def model_json(settings: Settings, *arguments: str) -> Any:
    return json.loads(model(settings, *arguments, "--json"))


def test_override_is_shown_in_lists_reports_and_card(two: Settings) -> None:
    evaluate_model(two, "b", access_key="evaluation")
    model(two, "promote", "b", "--override", "--reason", "bound is wrong here")
    (line,) = [line for line in model(two, "list").splitlines() if line.startswith("*")]
    assert line.endswith("champion, overridden")
    assert [m["is_override"] for m in model_json(two, "list") if m["model_name"] == "b"] == [True]
    assert model(two, "champion") == "b (now: champion, overridden)\n"
    shown = model(two, "show", "b")
    assert "standing  champion, overridden" in shown and "bound is wrong here" in shown
    assert "- Status: champion, overridden" in model(two, "card", "b")
    engine = database.connect(two)
    uri = S3Uri.parse(model_versions.find_model(engine, "b").artifact_uri)
    engine.dispose()
    assert '<span class="badge bad">overridden</span>' in ObjectStore.connect(two).read(uri / "report.html").decode()


def test_reference_is_named_once_with_actor_and_reason(two: Settings) -> None:
    assert model(two, "reference", "b", "--reason", "validated here") == "b is the reference model\n"
    again = model_json(two, "reference", "b", "--reason", "once more")
    assert again == {"reference": "b", "is_new": False}
    assert "The reason is empty" in model(two, "reference", "b", "--reason", " ", code=2)


def test_show_prints_metrics_accesses_verdicts_and_promotions(two: Settings) -> None:
    assert "Metrics: none" in model(two, "show", "b")
    evaluate_model(two, "b", access_key="the weekly run")
    pass_gate(two, "b")
    shown = model(two, "show", "b")
    assert "from random weights" in shown and "the weekly run" in shown and "Passed (" in shown
    shown_json = model_json(two, "show", "b")
    assert {e["split"]: e["count_access"] for e in shown_json["evaluations"]} == {"validation": 1, "test": 1}
    assert [access["access_key"] for access in shown_json["test_set_accesses"]] == ["the weekly run"]
    assert [action["action"] for action in shown_json["promotions"]] == ["promote"]
    assert shown_json["verdicts"][0]["verdict"]["summary"] == "Passed"


def test_rollback_with_withdrawal_counts_affected_predictions(two: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    run_scoring_job(two, run_key="night")
    before = champions(two)
    printed = model(two, "rollback", "--withdraw", "--reason", "predicts tumors as normal")
    assert "after b" in printed and "The DAG roll_back does" in printed
    assert "1 current predictions on 1 scans have the review reason model_withdrawn" in printed
    assert 'braintumor rescore --predicted-by b --reason "its model was withdrawn"' in printed
    assert champions(two) != before == ["b"]
    assert "withdrawn" in model(two, "list")
    refused = model(two, "promote", "b", "--override", "--reason", " ", code=2)
    assert "give a few words" in refused
    pass_gate(two, "b")
    assert "b was withdrawn" in model(two, "promote", "b", "--reason", "again", code=1)
    assert "no earlier champion" in model(two, "rollback", "--reason", "further", code=1)


def test_repeated_rollback_to_a_named_model_changes_nothing(two: Settings) -> None:
    ((first,),) = ([m["model_name"] for m in model_json(two, "list") if m["model_version_id"] == 1],)
    arguments = ("rollback", "--to", first, "--reason", "r")
    assert model_json(two, *arguments)["replaced"] == "b"
    assert model_json(two, *arguments)["replaced"] is None
    assert "nothing was changed" in model(two, *arguments)


def test_withdrawing_the_champion_reports_that_runs_stop(two: Settings) -> None:
    printed = model(two, "withdraw", "b", "--reason", "bad labels")
    assert "No scoring run starts until" in printed and "This command sends no notification" in printed
    assert "b was withdrawn (bad labels)" in model(two, "champion", code=1)
    assert "was withdrawn before" in model(two, "withdraw", "b", "--reason", "bad labels")


def test_champion_at_a_time_is_printed(two: Settings) -> None:
    assert model(two, "champion", "--at", datetime.now(UTC).isoformat()) == "b (now: champion, overridden)\n"
    assert "There was no champion at 2001-02-03" in model(two, "champion", "--at", "2001-02-03", code=1)
    assert "'soon' is not a time" in model(two, "champion", "--at", "soon", code=2)


def test_compare_prints_two_models(two: Settings) -> None:
    add_model(two, "a")
    for name in ("a", "b"):
        evaluate_model(two, name, access_key="evaluation")
    shown = model(two, "compare", "a", "b")
    assert "B  b: accuracy" in shown and "only A 0, only B 0" in shown and "glioma" in shown
    shown_json = model_json(two, "compare", "a", "b")
    assert shown_json["difference"] == 0 and shown_json["accuracy_a"] == shown_json["accuracy_b"]
    assert set(shown_json["by_class"]) == {"glioma", "meningioma", "normal", "pituitary"}


def test_prune_with_dry_run_deletes_nothing(two: Settings) -> None:
    add_model(two, "old", days_old=100, own_files=True)
    assert "1 models would be pruned" in model(two, "prune", "--dry-run")
    assert [m["model_name"] for m in model_json(two, "prune", "--older-than-days", "90")] == ["old"]
    assert "pruned" in model(two, "list")
    assert "0 models pruned" in model(two, "prune")


def complete(settings: Settings, words: str) -> list[str]:
    """Return the completions of the last word that bash receives."""
    environment = {
        **os.environ,
        **settings.to_environment(),
        "_BRAINTUMOR_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    program = Path(sys.executable).with_name("braintumor")
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_shell_completes_verbs_and_model_names(two: Settings) -> None:
    add_model(two, "bee")
    assert complete(two, "braintumor model roll") == ["rollback"]
    assert complete(two, "braintumor model show b") == ["bee", "b"]
    assert complete(two, "braintumor model rollback --to be") == ["bee"]
    assert complete(Settings(database_url="postgresql://u:p@127.0.0.1:9/none"), "braintumor model show b") == []


def test_help_imports_no_heavy_library() -> None:
    loaded = loaded_modules(show_help, "model", "rollback")
    assert not {"sqlalchemy", "numpy", "boto3", "matplotlib"} & loaded
