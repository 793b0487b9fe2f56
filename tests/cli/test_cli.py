"""Test the command ``braintumor``."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from braintumor import cli
from braintumor.cli import command
from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from tests.conftest import invoke, printed, run_braintumor
from tests.sql import change, rows


def list_commands(group: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(group, click.Group):
        return [(path, group)]
    context = click.Context(group)
    commands = []
    for name in group.list_commands(context):
        inner = group.get_command(context, name)
        assert inner is not None
        commands += list_commands(inner, (*path, name))
    return commands


@pytest.mark.parametrize(
    ("path", "leaf"), list_commands(command), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_has_help_with_an_example(path: tuple[str, ...], leaf: click.Command) -> None:
    assert leaf.help
    assert leaf.epilog and leaf.epilog.startswith(f"Example: braintumor {' '.join(path)}")


def test_predict_predicts_or_rejects_each_file_without_servers(
    tiny_model_folder: Path, phantoms: Path, tmp_path: Path
) -> None:
    good = next(phantoms.rglob("*.png"))
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    done = run_braintumor(Settings(), "predict", str(good), str(text), "--model", str(tiny_model_folder), "--json")
    prediction, rejection = json.loads(done.stdout)
    assert set(prediction) == {
        "path", "predicted_class", "confidence", "probabilities", "prediction_set", "model_version",
        "out_of_distribution", "review_reasons",
    }  # fmt: skip
    assert 0 <= prediction["out_of_distribution"] < 1
    assert list(prediction["probabilities"]) == ["glioma", "meningioma", "normal", "pituitary"]
    assert prediction["confidence"] == max(prediction["probabilities"].values())
    assert rejection == {"path": str(text), "rejected": "unsupported_format", "detail": rejection["detail"]}


def test_predict_writes_overlays_and_overwrites_nothing(
    tiny_model_folder: Path, phantoms: Path, tmp_path: Path
) -> None:
    first, second = sorted(phantoms.rglob("*.png"))[:2]
    for name, source in (("a", first), ("b", second)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scan.png").write_bytes(source.read_bytes())
    (tmp_path / "text.jpg").write_text("not an image")
    files = [str(tmp_path / name) for name in ("a/scan.png", "b/scan.png", "text.jpg")]
    drawn = tmp_path / "new" / "maps"
    command = ["predict", *files, "--model", str(tiny_model_folder), "--overlay", str(drawn), "--json"]
    predictions = json.loads(printed(Settings(), *command))
    images = [Path(prediction["overlay"]) for prediction in predictions[:2]]
    assert [image.name for image in images] == ["scan.png.overlay.png", "scan.png-2.overlay.png"]
    assert "overlay" not in predictions[2] and len(list(drawn.iterdir())) == 2
    with Image.open(images[0]) as one, Image.open(images[1]) as other:
        assert one.width == one.height - 56 == 448
        assert one.tobytes() != other.tobytes()
        shown = np.asarray(one.convert("RGB"), dtype=int)
    assert (shown[:448].max(axis=2) - shown[:448].min(axis=2)).max() > 50, "the map is in color"
    before = images[0].read_bytes()
    again = json.loads(printed(Settings(), *command))
    assert Path(again[0]["overlay"]).name == "scan.png-3.overlay.png" and images[0].read_bytes() == before


def test_predict_refuses_an_unwritable_overlay_folder(tiny_model_folder: Path, phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = ["predict", str(next(phantoms.rglob("*.png"))), "--model", str(tiny_model_folder)]
    done = invoke(Settings(), *command, "--overlay", str(tmp_path / "file" / "maps"))
    assert done.exit_code == 2
    assert "cannot be written: Not a directory" in done.stderr and "Traceback" not in done.stderr


def test_predict_uses_the_champion_by_default(settings: Settings, phantoms: Path) -> None:
    (prediction,) = json.loads(printed(settings, "predict", str(next(phantoms.rglob("*.dcm"))), "--json"))
    assert prediction["model_version"] == model_versions.champion(database.connect(settings)).model_name


def test_predict_names_a_missing_file(tiny_model_folder: Path) -> None:
    done = invoke(Settings(), "predict", "/nowhere.png", "--model", str(tiny_model_folder))
    assert done.exit_code == 2
    assert "'/nowhere.png' does not exist" in done.stderr


def test_predict_refuses_a_folder_without_a_model(tmp_path: Path, phantoms: Path) -> None:
    done = invoke(Settings(), "predict", str(next(phantoms.rglob("*.png"))), "--model", str(tmp_path))
    assert done.exit_code == 1
    assert "is not a model folder" in done.stderr and "Traceback" not in done.stderr


def test_predict_refuses_a_damaged_model(tiny_model_folder: Path, tmp_path: Path, phantoms: Path) -> None:
    for path in tiny_model_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    graph = tmp_path / "model.bin"
    graph.write_bytes(graph.read_bytes()[:1000])
    done = invoke(Settings(), "predict", str(next(phantoms.rglob("*.png"))), "--model", str(tmp_path))
    assert done.exit_code == 1
    assert "model.bin is not the file that was registered" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score"], "BRAINTUMOR_PSEUDONYM_KEY is not set"),
        (["migrate"], "BRAINTUMOR_DATABASE_URL is not set"),
        (["train", "--recipe", "vgg99"], "There is no recipe 'vgg99'"),
        (["train", "--recipe", "vgg16", "--set", "dropout=2"], "dropout must be a number from 0 up to"),
        (["train", "--recipe", "vgg16", "--set", "epoch=2"], "unknown key 'epoch'"),
        (["dataset", "upload", "/nowhere", "s3://b/d/"], "/nowhere is not a folder"),
        (["dataset", "upload", "/tmp", "bucket/d"], "s3://bucket/prefix/"),
    ],
)
def test_error_is_one_line_with_exit_code_1(arguments: list[str], message: str) -> None:
    done = invoke(Settings(), *arguments)
    assert done.exit_code == 1
    assert message in done.stderr and done.stderr.startswith("braintumor: ") and "Traceback" not in done.stderr


def test_score_prints_its_balance(settings: Settings, phantoms: Path) -> None:
    prefix = S3Uri.parse(settings.require("scans_uri"))
    ObjectStore.connect(settings).write(prefix / "a.png", next(phantoms.rglob("*.png")).read_bytes())
    balance = json.loads(printed(settings, "score", "--json"))
    assert (balance["count_seen"], balance["count_scored"], balance["count_unaccounted"]) == (1, 1, 0)


def test_score_without_a_champion_names_the_next_step(empty_settings: Settings) -> None:
    done = invoke(empty_settings, "score")
    assert done.exit_code == 1
    assert "There is no champion yet" in done.stderr and "weekly_retrain" in done.stderr


@pytest.mark.soak
def test_models_are_listed_evaluated_and_promoted_by_name(settings: Settings) -> None:
    (model,) = json.loads(run_braintumor(settings, "model", "list", "--json").stdout)
    assert model["is_champion"]
    name = model["model_name"]
    assert "on test: accuracy" in run_braintumor(settings, "model", "evaluate", name).stdout
    refused = run_braintumor(settings, "model", "promote", name, "--reason", "because", check=False)
    assert refused.returncode == 1 and "--override" in refused.stderr
    run_braintumor(settings, "model", "promote", name, "--override", "--reason", "because")
    assert "because" in str(rows(settings, "select reason from promotion"))


@pytest.mark.soak
def test_card_of_an_evaluated_model_is_printed_and_stored(settings: Settings) -> None:
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    model = model_versions.champion(engine)
    refused = run_braintumor(settings, "model", "card", model.model_name, check=False)
    assert refused.returncode == 1 and f"braintumor model evaluate {model.model_name}" in refused.stderr
    run_braintumor(settings, "model", "evaluate", model.model_name)
    card = run_braintumor(settings, "model", "card", model.model_name).stdout
    engine.dispose()
    assert card.startswith(f"# {model.model_name}\n")
    assert model.artifact_sha256s["model.bin"] in card and "For review, not for diagnosis" in card
    assert store.read(S3Uri.parse(model.artifact_uri) / "model_card.md").decode() == card


def test_migrate_plans_and_applies(empty_settings: Settings) -> None:
    change(empty_settings, "drop schema braintumor cascade")
    assert "would apply 0001_baseline" in printed(empty_settings, "migrate", "--plan")
    assert "applied 0001_baseline" in run_braintumor(empty_settings, "migrate").stdout
    assert "no migration is pending; views and rights are up to date" in printed(empty_settings, "migrate")


def test_phantoms_can_be_uploaded_and_snapshotted(empty_settings: Settings, tmp_path: Path) -> None:
    printed(Settings(), "dev", "make-phantoms", str(tmp_path / "p"), "--per-class", "12", "--seed", "4")
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["glioma", "meningioma", "normal", "pituitary"]
    printed(empty_settings, "dataset", "upload", str(tmp_path / "p"), empty_settings.require("dataset_uri"))
    taken = json.loads(printed(empty_settings, "dataset", "snapshot", "--json"))
    assert taken["images"]["test"] == {"glioma": 2, "meningioma": 2, "normal": 2, "pituitary": 2}


def test_unreachable_s3_exits_with_code_75(empty_settings: Settings) -> None:
    done = run_braintumor(replace(empty_settings, s3_endpoint="http://127.0.0.1:9"), "dataset", "snapshot", check=False)
    assert done.returncode == 75, "a script can try again"
    assert "No usable answer from the S3 endpoint http://127.0.0.1:9" in done.stderr


def test_program_fault_exits_with_code_70(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "command", lambda: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 70 and "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["query", "--parquet"], ["dataset", "validate", "s3://bucket/dataset/", "--report"]]
)
def test_unwritable_output_file_is_refused_before_any_work(command: list[str], tmp_path: Path) -> None:
    done = invoke(Settings(), *command, str(tmp_path / "no" / "file"))
    assert done.exit_code == 2
    assert f"Invalid value for {command[-1]}" in done.stderr and "cannot be written" in done.stderr


def test_create_bucket_ignores_weights_in_a_folder(empty_settings: Settings, tmp_path: Path) -> None:
    settings = replace(empty_settings, weights_uri=str(tmp_path))
    assert printed(settings, "dev", "create-bucket").splitlines() == ["exists already: bucket braintumor"]


def test_create_bucket_creates_each_bucket_once(empty_settings: Settings) -> None:
    own = f"created-{uuid.uuid4().hex}"
    settings = replace(empty_settings, scans_uri=f"s3://{own}/scans/")
    assert printed(settings, "dev", "create-bucket").splitlines() == [
        "exists already: bucket braintumor",
        f"created: bucket {own}",
    ]
    assert printed(settings, "dev", "create-bucket").splitlines()[1] == f"exists already: bucket {own}"
