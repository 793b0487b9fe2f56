"""Define the command ``braintumor dataset``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING

import click

from braintumor.cli.show import as_json, print_json, print_table, unwritable
from braintumor.config.airflow_connections import settings_of
from braintumor.config.settings import Settings
from braintumor.errors import DatasetError
from braintumor.filenames import printable
from braintumor.progress import BYTES, progress

if TYPE_CHECKING:
    from braintumor.dataset.images.labeled_image import ExcludedImage, LabeledImage
    from braintumor.dataset.images.patient_table import PatientTable

_SHOWN = 20
"""Largest number of paths of each kind that the text output shows. ``--json`` prints all paths."""


@click.group()
def dataset() -> None:
    """Upload labeled images to S3, check them and take snapshots."""


_patients = click.option(
    "--patients",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV with the patient of each image: columns path (below FOLDER) or sha256, and patient.",
)
_patient_column = click.option(
    "--patient-column", default="patient", show_default=True, help="Name of the column with the patient."
)
_exclude = click.option(
    "--exclude", type=click.Path(path_type=Path, dir_okay=False),
    help="CSV of images to exclude, with the columns sha256, reason and author. Default: BRAINTUMOR_LABEL_EXCLUSIONS.",
)  # fmt: skip


@dataset.command(epilog="Example: braintumor dataset upload ~/sartaj s3://hospital/dataset/ --patients patients.csv")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("prefix")
@_patients
@_patient_column
@click.option("--replace-patients", is_flag=True, help="Replace stored patients that differ from the new table.")
@click.option("--replace", "replaces", is_flag=True, help="Overwrite objects in S3 that differ from the files.")
def upload(
    folder: Path, prefix: str, *, patients: Path | None, patient_column: str, replace_patients: bool, replaces: bool
) -> None:
    """Upload the labeled images of FOLDER to PREFIX in S3.

    The folder of an image names its class. The folder names of Kaggle's datasets are recognized too. The images are
    stored by class. Images that are in S3 already are skipped, so an interrupted upload continues. No snapshot of
    PREFIX is taken until the upload has ended. Patients are stored as keyed pseudonyms (BRAINTUMOR_PSEUDONYM_KEY).
    """
    from braintumor.dataset.images.local_folder import (
        count_passed_over,
        labeled_files,
        not_in_s3,
        other_image_types,
        sha256s,
    )
    from braintumor.dataset.images.local_folder import upload as upload_files
    from braintumor.dataset.images.patient_table import read_patient_table, store_patient_table
    from braintumor.dataset.images.upload_mark import begin_upload
    from braintumor.s3 import ObjectStore, S3Uri

    settings, uri = settings_of("trainer"), S3Uri.parse_prefix(prefix)
    store, files = ObjectStore.connect(settings), labeled_files(folder)
    hashes, known = sha256s(files, folder), ""
    mark = begin_upload(store, uri, dict(zip((file.key for file in files), hashes.values(), strict=True)))
    with mark.before_images():
        new = not_in_s3(store, files, uri, replaces=replaces)
        if patients is not None:  # stored before the images, so that no snapshot has the images without their patients
            key = settings.require("pseudonym_key").encode()
            table = read_patient_table(patients, hashes, key=key, column=patient_column, where=str(folder))
            table = store_patient_table(store, uri, table, replaces=replace_patients)
            known = _known_patients(table, hashes.values())
    with progress("Uploading", sum(file.size for file in new), unit=BYTES) as advance:
        upload_files(store, new, uri, on_uploaded=advance)
    mark.end()
    click.echo(f"{len(files)} images in {uri}{known}")
    if len(new) < len(files):
        click.echo(f"{len(files) - len(new)} of them were there already", err=True)
    if others := count_passed_over(folder, files):
        click.echo(f"{others} other files were not uploaded, because their types are not read", err=True)
        for name, count in sorted(other_image_types(folder, files).items()):
            click.echo(f"{name}: {count} of these files. Convert them to JPEG or PNG.", err=True)


def _known_patients(table: PatientTable, hashes: Iterable[str]) -> str:
    """Return display text on the patients of the files with these sha256: how many there are, and the largest one.

    A placeholder or a cut number in the table shows as a patient with too many images.
    """
    counts = Counter(table.patients[digest] for digest in hashes if digest in table.patients)
    patients = f": {len(counts)} patients, one of them with {max(counts.values())} images" if counts else ""
    return f". The patient is known for {counts.total()} of them{patients}"


@dataset.command(epilog="Example: braintumor dataset abandon-upload s3://hospital/dataset/")
@click.argument("prefix")
@click.option("--yes", "is_sure", is_flag=True, help="Abandon all of them and do not ask.")
def abandon_upload(prefix: str, *, is_sure: bool) -> None:
    """Let snapshots use the images of interrupted uploads below PREFIX in S3 as they are.

    Use this if an interrupted upload cannot be run again. The command asks about each unfinished upload. Answer
    no for an upload that still runs, because a snapshot could use half of its images. The images stay in S3.
    """
    from braintumor.dataset.images.upload_mark import abandon_upload as abandon
    from braintumor.dataset.images.upload_mark import describe_upload, unfinished_uploads
    from braintumor.s3 import ObjectStore, S3Uri

    store = ObjectStore.connect(settings_of("trainer"))
    marks = unfinished_uploads(store.list(S3Uri.parse_prefix(prefix)))
    for mark in marks:
        name = printable(describe_upload(mark))
        if is_sure or click.confirm(f"Abandon {name}?", err=True):
            abandon(store, mark)
            click.echo(f"abandoned: {name}")
    if not marks:
        click.echo("no upload was interrupted")


@dataset.command(epilog="Example: braintumor dataset snapshot")
@click.argument("prefix", required=False)
@_exclude
@as_json
def snapshot(prefix: str | None, exclude: Path | None, is_json: bool) -> None:
    """Take a snapshot of labeled images and reviewed frames.

    The labeled images are under the S3 prefix PREFIX (default: BRAINTUMOR_DATASET_URI). The snapshot assigns each image
    to a split.
    """
    from braintumor.dataset.images.patient_ids import claim_of_patients
    from braintumor.dataset.take_snapshot import snapshot_of

    taken = snapshot_of(settings_of("trainer"), prefix, exclude)
    counts, patients = taken.counts(), claim_of_patients(taken.identified)
    if is_json:
        print_json({"snapshot_id": taken.snapshot_id, "images": counts, "copies": taken.count_copy,
                    "patients": patients, "exclusion_rows": taken.exclusion_rows,
                    "left_out": [item.to_dict() for item in taken.excluded]})  # fmt: skip
        return
    click.echo(
        f"snapshot {taken.snapshot_id}: {len(taken.images)} images in {taken.count_group} groups, "
        f"{taken.count_copy} duplicates skipped"
    )
    print_table(["split", *counts["train"]], [[split, *by_class.values()] for split, by_class in counts.items()])
    click.echo(patients)
    if taken.exclusion_rows is not None:
        click.echo("{} of {} rows of the exclusion list name an image".format(*taken.exclusion_rows))
    _print_excluded(taken.excluded)


def _print_excluded(excluded: Iterable[ExcludedImage]) -> None:
    for item in excluded:
        click.echo(f"excluded: {printable(item.image_uri)}: {item.reason}", err=True)


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
@_patients
@_patient_column
@_exclude
@as_json
def validate(
    source: str, *, report: Path | None, patients: Path | None, patient_column: str, exclude: Path | None, is_json: bool
) -> None:
    """Check labeled images by the data quality rules, and list the excluded images.

    The command records nothing. The exit code is 1 if the rules refuse the images. A local folder needs no S3 and no
    Postgres. The rules are the packaged ones, or the rules in the file of BRAINTUMOR_QUALITY_RULES. For an S3 prefix
    the command uses the stored table of patients. It reads no Postgres, so images of erased people count here. A
    snapshot leaves them out.
    """
    from braintumor.dataset.label_exclusions import read_exclusions, without_listed
    from braintumor.dataset.quality.checks import assess
    from braintumor.dataset.quality.gate import refusal
    from braintumor.dataset.quality.report import quality_report
    from braintumor.dataset.quality.rules import QualityRules

    _require_folder(source, patients)
    if report is not None:
        _require_writable(report)
    settings = settings_of("trainer")
    rules = QualityRules.load(settings.quality_rules)
    path = exclude or settings.label_exclusions
    exclusions = read_exclusions(path) if path else []
    images, unreadable, table = _read(settings, source, patients, patient_column)
    images, listed, _ = without_listed(images, exclusions)
    quality = assess(images if table is None else table.identify(images), unreadable, rules)
    excluded = sorted([*unreadable, *listed, *quality.grouping.excluded], key=lambda item: item.image_uri)
    if report is not None:
        needs_patient = table is not None and not settings.is_yes("unidentified_in_test")
        page = quality_report(quality, source=_shown_source(source), test_needs_patient=needs_patient)
        report.write_text(page, encoding="utf-8")
    if is_json:
        print_json(quality.to_dict() | {"excluded": [item.to_dict() for item in excluded]})
    else:
        click.echo(quality.summary)
        print_table(
            ["check", "outcome", "reason"], [[each.code, each.outcome, each.reason] for each in quality.results]
        )
        click.echo(quality.patient_shares)
        _print_excluded(excluded)
    if quality.blocking:
        raise DatasetError(refusal(quality, source=source, report=None if report is None else str(report)))


def _require_folder(source: str, patients: Path | None) -> None:
    """Check that a table of patients is given only for a local folder.

    Raises:
        click.UsageError: a table is given for an S3 prefix.
    """
    from braintumor.s3 import S3Uri

    if patients is not None and S3Uri.is_meant_by(source):
        raise click.UsageError(
            f"--patients is for a local folder. Received: {source}. Omit it, because the table that `dataset upload` "
            "stored is used."
        )


def _require_writable(report: Path) -> None:
    """Check that the report can be written, before images are read. An existing file stays unchanged."""
    try:
        report.open("ab").close()
    except OSError as exc:
        raise unwritable(report, exc, option="--report") from exc


def _read(
    settings: Settings, source: str, patients: Path | None, column: str
) -> tuple[list[LabeledImage], list[ExcludedImage], PatientTable | None]:
    """Return the images, the excluded images, and the table of patients or ``None``.

    For a local folder, the CSV file ``patients`` is the table. For an S3 prefix, the table is stored in S3. The
    pseudonyms for a local folder are never stored, so their key is random.
    """
    from braintumor.dataset.images.patient_table import load_patient_table, read_patient_table
    from braintumor.dataset.images.upload_mark import require_ended_uploads
    from braintumor.s3 import ObjectStore, S3Uri

    if S3Uri.is_meant_by(source):
        from braintumor.dataset.take_snapshot import read_images

        store, prefix = ObjectStore.connect(settings), S3Uri.parse_prefix(source)
        entries = list(store.list(prefix))
        require_ended_uploads(entries, prefix)
        images, excluded = read_images(store, prefix, entries)
        return images, excluded, load_patient_table(store, entries, settings.pseudonym_key, where=source)
    from braintumor.dataset.images.local_folder import image_paths, read_files

    paths = image_paths(Path(source))
    with progress("Reading", len(paths)) as advance:
        images, excluded = read_files(paths, Path(source), on_read=advance)
    if patients is None:
        return images, excluded, None
    read: list[LabeledImage | ExcludedImage] = [*images, *excluded]
    hashes = {item.image_uri: item.image_sha256 for item in read if item.image_sha256}
    return images, excluded, read_patient_table(patients, hashes, key=token_bytes(), column=column, where=source)


def _shown_source(source: str) -> str:
    """Return an S3 prefix, or a local folder's name without its path, because other people read the report."""
    from braintumor.s3 import S3Uri

    return source if S3Uri.is_meant_by(source) else f"folder {Path(source).resolve().name}"


@dataset.command(epilog="Example: braintumor dataset verify-checksums ~/clean_brain_tumor --manifest manifest.csv")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--manifest", required=True, type=click.Path(path_type=Path), help="CSV with path, sha256, size_bytes.")
@as_json
def verify_checksums(folder: Path, manifest: Path, is_json: bool) -> None:
    """Check the files in FOLDER against a manifest.

    The exit code is 1 if a file of the manifest is missing, incomplete, unreadable or changed.
    """
    from braintumor.dataset.images.checksums import read_manifest, verify_folder

    entries = read_manifest(manifest)
    with progress("Checking", len(entries)) as advance:
        result = verify_folder(folder, entries, on_checked=advance)
    lists = {name: getattr(result, name) for name in ("missing", "truncated", "unreadable", "changed", "unlisted")}
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
