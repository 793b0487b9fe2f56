"""`braintumor model`, as people and scripts use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from tests.conftest import run_braintumor
from tests.images import png
from tests.models import add_model, champions, pass_gate, promote

pytestmark = pytest.mark.soak


@pytest.fixture
def two(settings: Settings) -> Settings:
    """The tests' champion, then `b`, promoted over the gate."""
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


def test_an_override_shows_in_list_show_champion_report_and_card(two: Settings) -> None:
    evaluate_model(two, "b", access_key="look")
    model(two, "promote", "b", "--override", "--reason", "floor is wrong here")
    (line,) = [line for line in model(two, "list").splitlines() if line.startswith("*")]
    assert line.endswith("champion, overridden")
    assert [m["is_override"] for m in model_json(two, "list") if m["model_name"] == "b"] == [True]
    assert model(two, "champion") == "b (now: champion, overridden)\n"
    shown = model(two, "show", "b")
    assert "standing  champion, overridden" in shown and "floor is wrong here" in shown
    assert "- Standing: champion, overridden" in model(two, "card", "b")
    engine = database.connect(two)
    uri = S3Uri.parse(model_versions.find_model(engine, "b").artifact_uri)
    engine.dispose()
    assert '<span class="badge bad">overridden</span>' in ObjectStore.connect(two).read(uri / "report.html").decode()


def test_show_tells_figures_looks_verdicts_and_ledger(two: Settings) -> None:
    assert "Figures: none" in model(two, "show", "b")
    evaluate_model(two, "b", access_key="the weekly run")
    pass_gate(two, "b")
    shown = model(two, "show", "b")
    assert "from random weights" in shown and "the weekly run" in shown and "Passed (" in shown
    told = model_json(two, "show", "b")
    assert {e["split"]: e["count_access"] for e in told["evaluations"]} == {"validation": 1, "test": 1}
    assert [look["access_key"] for look in told["test_set_accesses"]] == ["the weekly run"]
    assert [act["action"] for act in told["ledger"]] == ["promote"]
    assert told["verdicts"][0]["verdict"]["summary"] == "Passed"


def test_a_rollback_with_withdrawal_says_how_many_answers_people_must_look_at(
    two: Settings, put: Callable[[str, bytes], None]
) -> None:
    put("a.png", png(seed=1))
    run_scoring_job(two, run_key="night")
    before = champions(two)
    said = model(two, "rollback", "--withdraw", "--reason", "calls tumors normal")
    assert "after b" in said and "The DAG roll_back tells people" in said
    assert "1 standing answers on 1 scans have the review reason model_withdrawn" in said
    assert 'braintumor rescore --predicted-by b --reason "its model was withdrawn"' in said
    assert champions(two) != before == ["b"]
    assert "withdrawn" in model(two, "list")
    refused = model(two, "promote", "b", "--override", "--reason", " ", code=2)
    assert "say it in a few words" in refused
    pass_gate(two, "b")
    assert "b was withdrawn" in model(two, "promote", "b", "--reason", "again", code=1)
    assert "no earlier champion" in model(two, "rollback", "--reason", "further", code=1)


def test_a_rollback_to_a_named_model_is_done_once_however_often_it_is_asked(two: Settings) -> None:
    ((first,),) = ([m["model_name"] for m in model_json(two, "list") if m["model_version_id"] == 1],)
    asked = ("rollback", "--to", first, "--reason", "r")
    assert model_json(two, *asked)["replaced"] == "b"
    assert model_json(two, *asked)["replaced"] is None
    assert "nothing was changed" in model(two, *asked)


def test_withdrawing_the_champion_says_that_nobody_answers_now(two: Settings) -> None:
    said = model(two, "withdraw", "b", "--reason", "bad labels")
    assert "nobody is: no night is scored until" in said and "This command tells nobody" in said
    assert "b was withdrawn (bad labels)" in model(two, "champion", code=1)
    assert "was withdrawn before" in model(two, "withdraw", "b", "--reason", "bad labels")


def test_who_was_champion_at_a_time_is_said(two: Settings) -> None:
    assert model(two, "champion", "--at", datetime.now(UTC).isoformat()) == "b (now: champion, overridden)\n"
    assert "There was no champion at 2001-02-03" in model(two, "champion", "--at", "2001-02-03", code=1)
    assert "'soon' is no time" in model(two, "champion", "--at", "soon", code=2)


def test_compare_sets_two_models_beside_each_other(two: Settings) -> None:
    add_model(two, "a")
    for name in ("a", "b"):
        evaluate_model(two, name, access_key="look")
    shown = model(two, "compare", "a", "b")
    assert "B  b: accuracy" in shown and "only A 0, only B 0" in shown and "glioma" in shown
    told = model_json(two, "compare", "a", "b")
    assert told["difference"] == 0 and told["accuracy_a"] == told["accuracy_b"]
    assert set(told["by_class"]) == {"glioma", "meningioma", "normal", "pituitary"}


def test_prune_tries_dry_first(two: Settings) -> None:
    add_model(two, "old", days_old=100, own_files=True)
    assert "1 models would be pruned" in model(two, "prune", "--dry-run")
    assert [m["model_name"] for m in model_json(two, "prune", "--older-than-days", "90")] == ["old"]
    assert "pruned" in model(two, "list")
    assert "0 models pruned" in model(two, "prune")


def complete(settings: Settings, words: str) -> list[str]:
    """What bash is told for the last word."""
    environment = {
        **os.environ,
        **settings.to_environment(),
        "_BRAINTUMOR_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    code = "import sys; sys.argv = ['braintumor']; from braintumor.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_the_shell_completes_verbs_and_the_names_of_models(two: Settings) -> None:
    add_model(two, "bee")
    assert complete(two, "braintumor model roll") == ["rollback"]
    assert complete(two, "braintumor model show b") == ["bee", "b"]
    assert complete(two, "braintumor model rollback --to be") == ["bee"]
    assert complete(Settings(database_url="postgresql://u:p@127.0.0.1:9/none"), "braintumor model show b") == []


def test_help_loads_no_heavy_library() -> None:
    code = """
import sys
from click.testing import CliRunner
from braintumor.cli import command
assert CliRunner().invoke(command, ["model", "rollback", "--help"]).exit_code == 0
print({"sqlalchemy", "numpy", "boto3", "matplotlib"} & set(sys.modules))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
