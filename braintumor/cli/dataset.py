"""Define the command ``braintumor dataset``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from braintumor.cli.show import as_json, print_json, print_table, unwritable
from braintumor.config.airflow_connections import settings_of
from braintumor.config.settings import Settings
from braintumor.errors import DatasetError
from braintumor.progress import BYTES, progress

if TYPE_CHECKING:
    from braintumor.dataset.images.labeled_image import ExcludedImage, LabeledImage

_SHOWN = 20
"""Most paths of each kind that the text output shows. ``--json`` prints all paths."""


@click.group()
def dataset() -> None:
    """Upload labeled images to S3, check them and take snapshots."""


@dataset.command(epilog="Example: braintumor dataset upload ~/sartaj s3://hospital/dataset/")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("prefix")
def upload(folder: Path, prefix: str) -> None:
    """Upload the labeled images of FOLDER to PREFIX in S3.

    The folder of an image names its class. The folder names of Kaggle's datasets are recognized too. The images are
    stored by class.
    """
    from braintumor.dataset.images.local_folder import count_passed_over, labeled_files, other_image_types
    from braintumor.dataset.images.local_folder import upload as upload_files
    from braintumor.s3 import ObjectStore, S3Uri

    uri = S3Uri.parse_prefix(prefix)
    files = labeled_files(folder)
    with progress("Uploading", sum(file.path.stat().st_size for file in files), unit=BYTES) as advance:
        upload_files(ObjectStore.connect(settings_of("trainer")), files, uri, on_uploaded=advance)
    click.echo(f"{len(files)} images in {uri}")
    if others := count_passed_over(folder, files):
        click.echo(f"{others} other files were not uploaded, because their types are not read", err=True)
        for name, count in sorted(other_image_types(folder, files).items()):
            click.echo(f"{name}: {count} of these files. Convert them to JPEG or PNG.", err=True)


@dataset.command(epilog="Example: braintumor dataset snapshot")
@click.argument("prefix", required=False)
@as_json
def snapshot(prefix: str | None, is_json: bool) -> None:
    """Take a snapshot of labeled images and reviewed frames.

    The labeled images are under the S3 prefix PREFIX (default: BRAINTUMOR_DATASET_URI). The snapshot assigns each image
    to a split.
    """
    from braintumor.dataset.snapshot import snapshot_of

    taken = snapshot_of(settings_of("trainer"), prefix)
    counts = taken.counts()
    if is_json:
        print_json({"snapshot_id": taken.snapshot_id, "images": counts, "copies": taken.count_copy,
                    "left_out": [vars(item) for item in taken.excluded]})  # fmt: skip
        return
    click.echo(
        f"snapshot {taken.snapshot_id}: {len(taken.images)} images in {taken.count_group} groups, "
        f"{taken.count_copy} duplicates skipped"
    )
    print_table(["split", *counts["train"]], [[split, *by_class.values()] for split, by_class in counts.items()])
    for item in taken.excluded:
        click.echo(f"excluded: {item.image_uri}: {item.reason}", err=True)


@dataset.command(epilog="Example: braintumor dataset show-reviewed-labels")
@as_json
def show_reviewed_labels(is_json: bool) -> None:
    """Show the training labels that reviews give now.

    The command also shows the frames without a label. The rules are the packaged ones, or the rules in the file of
    BRAINTUMOR_LABEL_RULES. The command changes nothing.
    """
    from braintumor.dataset.review_labels.labels import summarize_reviewed_labels

    current = summarize_reviewed_labels(settings_of("trainer"))
    labels = [{"label": label, "source": source, "frames": count} for (label, source), count in current.labels.items()]
    left_out = [{"frame": name, "reason": reason} for name, reason in current.excluded]
    if is_json:
        print_json({"rules_version": current.rules_version, "labels": labels, "without_label": dict(current.unlabeled),
                    "new": current.count_new, "retrain_after": current.retrain_after,
                    "last_snapshot": current.snapshot_id, "left_out": left_out})  # fmt: skip
        return
    print_table(["label", "source", "frames"], [list(each.values()) for each in labels])
    for reason, count in current.unlabeled.items():
        click.echo(f"no label: {count} frames: {reason}")
    click.echo(f"{current.count_new} labels are new; {current.retrain_after} request a retrain")
    for each in left_out[:_SHOWN]:
        click.echo(f"excluded from snapshot {current.snapshot_id}: {each['frame']}: {each['reason']}", err=True)
    if len(left_out) > _SHOWN:
        click.echo(f"excluded: and {len(left_out) - _SHOWN} more", err=True)


@dataset.command(epilog="Example: braintumor dataset validate ~/sartaj --report quality.html")
@click.argument("source", metavar="FOLDER_OR_S3_PREFIX")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write the HTML report to this file.")
@as_json
def validate(source: str, report: Path | None, is_json: bool) -> None:
    """Check labeled images by the data quality rules.

    The command records nothing. The exit code is 1 if the rules refuse the images. A local folder needs no S3 and no
    Postgres. The rules are the packaged ones, or the rules in the file of BRAINTUMOR_QUALITY_RULES.
    """
    from braintumor.dataset.quality.checks import assess
    from braintumor.dataset.quality.gate import current_report, refusal
    from braintumor.dataset.quality.rules import QualityRules

    if report is not None:
        _require_writable(report)
    settings = settings_of("trainer")
    rules = QualityRules.load(settings.quality_rules)
    quality = assess(*_read(settings, source), rules)
    if report is not None:
        report.write_text(current_report(quality, source=_shown_source(source)), encoding="utf-8")
    if is_json:
        print_json(quality.to_dict())
    else:
        click.echo(quality.summary)
        print_table(
            ["check", "outcome", "reason"], [[each.code, each.outcome, each.reason] for each in quality.results]
        )
    if quality.blocking:
        raise DatasetError(refusal(quality, source=source, report=None if report is None else str(report)))


def _require_writable(report: Path) -> None:
    """Check that the report can be written, before images are read. An existing file stays unchanged.

    Raises:
        click.BadParameter: the report cannot be written.
    """
    try:
        report.open("ab").close()
    except OSError as exc:
        raise unwritable(report, exc, option="--report") from exc


def _read(settings: Settings, source: str) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    from braintumor.s3 import ObjectStore, S3Uri

    if S3Uri.is_meant_by(source):
        from braintumor.dataset.snapshot import read_images

        prefix = S3Uri.parse_prefix(source)
        return read_images(ObjectStore.connect(settings), prefix)
    from braintumor.dataset.images.local_folder import image_paths, read_files

    paths = image_paths(Path(source))
    with progress("Reading", len(paths)) as advance:
        return read_files(paths, Path(source), on_read=advance)


def _shown_source(source: str) -> str:
    """Return the source for the report: an S3 prefix, or a local folder's name without its path.

    Other people read the report, so it does not show the path.
    """
    from braintumor.s3 import S3Uri

    return source if S3Uri.is_meant_by(source) else f"folder {Path(source).resolve().name}"


@dataset.command(epilog="Example: braintumor dataset verify-checksums ~/clean_brain_tumor --manifest manifest.csv")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--manifest", required=True, type=click.Path(path_type=Path), help="CSV with path, sha256, size_bytes.")
@as_json
def verify_checksums(folder: Path, manifest: Path, is_json: bool) -> None:
    """Check the files in FOLDER against a manifest.

    The exit code is 1 if a file of the manifest is missing, incomplete or changed.
    """
    from braintumor.dataset.images.checksums import read_manifest, verify_folder

    entries = read_manifest(manifest)
    with progress("Checking", len(entries)) as advance:
        result = verify_folder(folder, entries, on_checked=advance)
    lists = {name: getattr(result, name) for name in ("missing", "truncated", "changed", "unlisted")}
    if is_json:
        print_json({"ok": result.count_ok, "is_whole": result.is_whole, **lists})
    else:
        click.echo(f"{result.count_ok} of {len(entries)} files are present and unchanged")
        for name, paths in lists.items():
            for path in paths[:_SHOWN]:
                click.echo(f"{name}: {path}", err=True)
            if len(paths) > _SHOWN:
                click.echo(f"{name}: and {len(paths) - _SHOWN} more", err=True)
    if not result.is_whole:
        raise DatasetError(f"{folder} is not the data set of {manifest}. Download it again, or the files above.")


@dataset.command(epilog="Example: braintumor dataset diff 3f2a9c0d1e4b5a69 8b7c6d5e4f3a2b10")
@click.argument("before")
@click.argument("after")
@as_json
def diff(before: str, after: str, is_json: bool) -> None:
    """Show the changes from snapshot BEFORE to AFTER.

    A change is an image that was added, removed, relabeled or moved to another split.
    """
    from braintumor.dataset.snapshot_diff import snapshot_diff
    from braintumor.db import database

    changes = snapshot_diff(database.connect(settings_of("trainer")), before, after)
    if is_json:
        print_json([vars(change) for change in changes])
        return
    columns = ["change", "split", "was", "is", "images"]
    print_table(
        columns, [[c.change, c.split, c.label_before or "", c.label_after or "", c.count_image] for c in changes]
    )
