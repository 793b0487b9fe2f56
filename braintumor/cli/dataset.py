"""``braintumor dataset``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from braintumor.cli.show import as_json, print_json, print_table, progress, unwritable
from braintumor.config.airflow_connections import settings_of
from braintumor.config.settings import Settings
from braintumor.errors import DatasetError

if TYPE_CHECKING:
    from braintumor.dataset.images.labeled_image import ExcludedImage, LabeledImage

_SHOWN = 20
"""Paths of each kind that a person is shown; --json gives all."""


@click.group()
def dataset() -> None:
    """Labeled images: bring them to S3 and take snapshots of them."""


@dataset.command(epilog="Example: braintumor dataset upload ~/sartaj s3://hospital/dataset/")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("prefix")
def upload(folder: Path, prefix: str) -> None:
    """Copy the labeled images of FOLDER to the S3 PREFIX, by class. Kaggle's folder names are understood."""
    from braintumor.dataset.images.local_folder import count_passed_over, labeled_files, other_image_types
    from braintumor.dataset.images.local_folder import upload as upload_files
    from braintumor.s3 import ObjectStore, S3Uri

    uri = S3Uri.parse_prefix(prefix)
    files = labeled_files(folder)
    with progress("Uploading", sum(file.path.stat().st_size for file in files)) as advance:
        upload_files(ObjectStore.connect(settings_of("trainer")), files, uri, on_uploaded=advance)
    click.echo(f"{len(files)} images in {uri}")
    if others := count_passed_over(folder, files):
        click.echo(f"{others} other files are no images that are read, and stayed behind", err=True)
        for name, count in sorted(other_image_types(folder, files).items()):
            click.echo(f"of these {name}: {count}. Convert them to JPEG or PNG.", err=True)


@dataset.command(epilog="Example: braintumor dataset snapshot")
@click.argument("prefix", required=False)
@as_json
def snapshot(prefix: str | None, is_json: bool) -> None:
    """Record the images under the S3 PREFIX (default: BRAINTUMOR_DATASET_URI), and reviewed frames, with splits."""
    from braintumor.dataset.snapshot import snapshot_of

    taken = snapshot_of(settings_of("trainer"), prefix)
    counts = taken.counts()
    if is_json:
        print_json({"snapshot_id": taken.snapshot_id, "images": counts, "copies": taken.count_copy,
                    "left_out": [vars(item) for item in taken.left_out]})  # fmt: skip
        return
    click.echo(
        f"snapshot {taken.snapshot_id}: {len(taken.images)} images in {taken.count_group} groups, "
        f"{taken.count_copy} copies folded"
    )
    print_table(["split", *counts["train"]], [[split, *by_class.values()] for split, by_class in counts.items()])
    for item in taken.left_out:
        click.echo(f"left out: {item.image_uri}: {item.reason}", err=True)


@dataset.command(epilog="Example: braintumor dataset show-reviewed-labels")
@as_json
def show_reviewed_labels(is_json: bool) -> None:
    """What people said of production frames: which labels it makes now, what makes none, and what was left out.

    The rule is the packaged one, or that of BRAINTUMOR_LABEL_RULES. Nothing is changed.
    """
    from braintumor.dataset.review_labels.labels import outlook

    found = outlook(settings_of("trainer"))
    labels = [{"label": label, "source": source, "frames": count} for (label, source), count in found.labels.items()]
    left_out = [{"frame": name, "reason": reason} for name, reason in found.left_out]
    if is_json:
        print_json({"rules_version": found.rules_version, "labels": labels, "without_label": dict(found.without),
                    "new": found.count_new, "retrain_after": found.retrain_after, "last_snapshot": found.snapshot_id,
                    "left_out": left_out})  # fmt: skip
        return
    print_table(["label", "settled by", "frames"], [list(each.values()) for each in labels])
    for reason, count in found.without.items():
        click.echo(f"no label: {count} frames: {reason}")
    click.echo(f"{found.count_new} labels are new; {found.retrain_after} ask for a retrain")
    for each in left_out[:_SHOWN]:
        click.echo(f"left out of snapshot {found.snapshot_id}: {each['frame']}: {each['reason']}", err=True)
    if len(left_out) > _SHOWN:
        click.echo(f"left out: and {len(left_out) - _SHOWN} more", err=True)


@dataset.command(epilog="Example: braintumor dataset validate ~/sartaj --report quality.html")
@click.argument("source", metavar="FOLDER_OR_S3_PREFIX")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write the HTML report to this file.")
@as_json
def validate(source: str, report: Path | None, is_json: bool) -> None:
    """Judge labeled images by the data quality rules and record nothing. Exit 1 when they are refused.

    A local folder needs no servers. The rules are the packaged ones, or those of BRAINTUMOR_QUALITY_RULES.
    """
    from braintumor.dataset.quality.checks import assess
    from braintumor.dataset.quality.gate import refusal, report_now
    from braintumor.dataset.quality.rules import QualityRules

    if report is not None:
        _require_writable(report)
    settings = settings_of("trainer")
    rules = QualityRules.load(settings.quality_rules)
    quality = assess(*_read(settings, source), rules)
    if report is not None:
        report.write_text(report_now(quality, source=_shown_source(source)), encoding="utf-8")
    if is_json:
        print_json(quality.to_dict())
    else:
        click.echo(quality.summary)
        print_table(["check", "outcome", "found"], [[f.code, f.outcome, f.reason] for f in quality.findings])
    if quality.blocking:
        raise DatasetError(refusal(quality, source=source, report=None if report is None else str(report)))


def _require_writable(report: Path) -> None:
    """Ask before every image is read; what is there stays."""
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
    """A page for others names a local folder without the way to it."""
    from braintumor.s3 import S3Uri

    return source if S3Uri.is_meant_by(source) else f"folder {Path(source).resolve().name}"


@dataset.command(epilog="Example: braintumor dataset verify-checksums ~/clean_brain_tumor --manifest manifest.csv")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--manifest", required=True, type=click.Path(path_type=Path), help="CSV with path, sha256, size_bytess.")
@as_json
def verify_checksums(folder: Path, manifest: Path, is_json: bool) -> None:
    """Check that FOLDER holds every file of a manifest, whole and unchanged. Exit 1 when it does not."""
    from braintumor.dataset.images.checksums import read_manifest, verify_folder

    entries = read_manifest(manifest)
    with progress("Checking", len(entries)) as advance:
        found = verify_folder(folder, entries, on_checked=advance)
    lists = {name: getattr(found, name) for name in ("missing", "truncated", "changed", "unlisted")}
    if is_json:
        print_json({"ok": found.count_ok, "is_whole": found.is_whole, **lists})
    else:
        click.echo(f"{found.count_ok} of {len(entries)} files are there and unchanged")
        for name, paths in lists.items():
            for path in paths[:_SHOWN]:
                click.echo(f"{name}: {path}", err=True)
            if len(paths) > _SHOWN:
                click.echo(f"{name}: and {len(paths) - _SHOWN} more", err=True)
    if not found.is_whole:
        raise DatasetError(f"{folder} is not the data set of {manifest}. Download it again, or what is named above.")


@dataset.command(epilog="Example: braintumor dataset diff 3f2a9c0d1e4b5a69 8b7c6d5e4f3a2b10")
@click.argument("before")
@click.argument("after")
@as_json
def diff(before: str, after: str, is_json: bool) -> None:
    """What changed from snapshot BEFORE to AFTER: images added, removed, relabeled or moved to another split."""
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
