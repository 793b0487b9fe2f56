"""``braintumor predict``: external images, one answer or one reason each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from braintumor.cli.show import as_json, print_json, print_table
from braintumor.settings import Settings


@click.command(epilog="Example: braintumor predict scan.jpg --model ./resnet50 --json")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", "folder", type=click.Path(path_type=Path), help="A model folder; without it, the champion.")
@as_json
def predict(files: tuple[Path, ...], folder: Path | None, is_json: bool) -> None:
    """Say what FILES show. For review, not for diagnosis. Exit 0 when each got an answer or a reason."""
    from braintumor.scoring.external import predict_files

    results = [result.to_values() for result in predict_files(_model(folder), files)]
    if is_json:
        print_json(results)
        return
    print_table(["file", "answer", "confidence", "all"], [_row(result) for result in results])
    click.echo("For review, not for diagnosis.", err=True)


def _model(folder: Path | None) -> Any:
    from braintumor.serving.engine import LoadedModel

    if folder is not None:
        return LoadedModel.load(folder)
    from braintumor import database
    from braintumor.objectstore import ObjectStore
    from braintumor.registry import champion, load_model

    settings = Settings.from_environment()
    return load_model(ObjectStore.connect(settings), settings, champion(database.connect(settings)))


def _row(result: dict[str, Any]) -> list[str]:
    if "rejected" in result:
        return [result["path"], f"rejected: {result['rejected']}", "", result["detail"]]
    every = "  ".join(f"{name} {value:.3f}" for name, value in result["probabilities"].items())
    return [result["path"], result["predicted_class"], f"{result['confidence']:.3f}", every]
