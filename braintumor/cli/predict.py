"""Define ``braintumor predict``: one prediction per frame of local files, or one rejection reason per file."""

from __future__ import annotations

import os
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from braintumor.cli.show import as_json, print_json, print_table, unwritable
from braintumor.config.airflow_connections import settings_of
from braintumor.filenames import as_utf8, fitting, printable

if TYPE_CHECKING:
    from braintumor.scoring.predict_files import FileResult


def _present(context: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return ``paths`` if all of them exist, and otherwise raise ``click.BadParameter``.

    A file that exists and cannot be read gets a rejection reason later.
    """
    for path in paths:
        if not os.path.lexists(path):
            raise click.BadParameter(f"File {str(path)!r} does not exist.", ctx=context, param=parameter)
    return paths


@click.command(epilog="Example: braintumor predict scan.jpg --model ./resnet50 --json")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), callback=_present)
@click.option("--model", "folder", type=click.Path(path_type=Path), help="A model folder. Default: the champion.")
@click.option(
    "--overlay",
    "overlays",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write a PNG of each predicted frame with its activation map to this folder. Existing files stay.",
)
@as_json
def predict(files: tuple[Path, ...], folder: Path | None, overlays: Path | None, is_json: bool) -> None:
    """Predict the class of each frame of FILES. For review, not for diagnosis.

    The exit code is 0 if each file has a prediction or a rejection reason. With --overlay, each prediction also needs
    an image.
    """
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end, default_pool
    from braintumor.scoring.predict_files import predict_files

    if overlays is not None:
        _make(overlays)
    results, errors = [], list[click.BadParameter]()
    with decoders_closed_at_end():
        default_pool()  # its processes start while the model is loaded
        for result in predict_files(_model(folder), files):
            results.append(result.to_values() | ({} if overlays is None else _drawn(result, overlays, errors)))
    if is_json:
        print_json(results)
    else:
        _print_table(results, overlays)
    if errors:
        raise errors[0]


def _print_table(results: list[dict[str, Any]], overlays: Path | None) -> None:
    columns = ["file", "prediction", "confidence", "out of distribution", "review reasons", "all"]
    print_table(columns, [_row(result) for result in results])
    if overlays is not None:
        click.echo(f"activation maps in {overlays}", err=True)
    click.echo("For review, not for diagnosis.", err=True)


def _model(folder: Path | None) -> Any:
    from braintumor.serving.backend import LoadedModel

    if folder is not None:
        return LoadedModel.load(folder)
    from braintumor.db import database
    from braintumor.registry.model_versions import champion, load_model
    from braintumor.s3 import ObjectStore

    settings = settings_of("scorer")
    return load_model(ObjectStore.connect(settings), settings, champion(database.connect(settings)))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise unwritable(folder, exc, option="--overlay") from exc


def _drawn(result: FileResult, folder: Path, errors: list[click.BadParameter]) -> dict[str, str]:
    """Write the activation map over a frame as a PNG file into ``folder``.

    Return the path of the file as ``overlay``. If writing fails, add the error to ``errors``, and return the reason as
    ``overlay_error``. Return an empty dict if there is no frame.
    """
    from braintumor.evaluation.report.cam_overlay import overlay_png
    from braintumor.imaging.decoding.rejection import Rejection

    prediction = result.result
    if isinstance(prediction, Rejection) or result.frame is None:
        return {}
    caption = f"{prediction.predicted_class}, confidence {prediction.confidence:.3f}"
    frame = f"-frame-{prediction.frame_index}" if result.is_volume else ""
    image = overlay_png(result.frame, prediction.activation_map, caption=caption)
    try:
        return {"overlay": as_utf8(_write_new(folder, printable(result.path.name), frame, image))}
    except OSError as exc:
        errors.append(unwritable(folder, exc, option="--overlay"))
        return {"overlay_error": exc.strerror or str(exc)}


def _write_new(folder: Path, name: str, frame: str, data: bytes) -> Path:
    """Write the PNG ``data`` of a frame of the input file ``name`` into ``folder``, and return its path.

    ``frame`` is the part of the new file's name that tells the frames of a volume apart. If a file with the new name
    exists, a number is added.
    """
    ends = chain([frame], (f"{frame}-{number}" for number in count(2)))
    while True:
        path = folder / fitting(folder, name, f"{next(ends)}.overlay.png")
        try:
            with path.open("xb") as stream:
                stream.write(data)
        except FileExistsError:
            continue
        return path


def _row(result: dict[str, Any]) -> list[str]:
    if "rejected" in result:
        return [printable(result["path"]), f"rejected: {result['rejected']}", "", "", "", result["detail"]]
    every = "  ".join(f"{name} {value:.3f}" for name, value in result["probabilities"].items())
    name = printable(result["path"]) + (f" frame {result['frame_index']}" if "frame_index" in result else "")
    score = result["out_of_distribution"]
    apart = "" if score is None else f"{score:.3g}"
    reasons = " ".join(result["review_reasons"])
    return [name, result["predicted_class"], f"{result['confidence']:.3f}", apart, reasons, every]
