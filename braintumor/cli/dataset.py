"""``braintumor dataset``."""

from __future__ import annotations

from pathlib import Path

import click

from braintumor.cli.show import as_json, print_json, print_table, progress
from braintumor.settings import Settings


@click.group()
def dataset() -> None:
    """Labelled images: bring them to S3 and take snapshots of them."""


@dataset.command(epilog="Example: braintumor dataset upload ~/sartaj s3://hospital/dataset/")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("prefix")
def upload(folder: Path, prefix: str) -> None:
    """Copy the labelled images of FOLDER to the S3 PREFIX, by class. Kaggle's folder names are understood."""
    from braintumor.dataset.folder import labelled_files
    from braintumor.dataset.folder import upload as upload_files
    from braintumor.objectstore import ObjectStore, S3Uri

    uri = S3Uri.parse_prefix(prefix)
    files = labelled_files(folder)
    with progress("Uploading", sum(file.path.stat().st_size for file in files)) as advance:
        upload_files(ObjectStore.connect(Settings.from_environment()), files, uri, on_uploaded=advance)
    click.echo(f"{len(files)} images in {uri}")


@dataset.command(epilog="Example: braintumor dataset snapshot")
@click.argument("prefix", required=False)
@as_json
def snapshot(prefix: str | None, is_json: bool) -> None:
    """Record the labelled images under the S3 PREFIX (default: BRAINTUMOR_DATASET_URI) with their splits."""
    from braintumor.dataset.snapshot import snapshot_of

    taken = snapshot_of(Settings.from_environment(), prefix)
    counts = taken.counts()
    if is_json:
        print_json({"snapshot_id": taken.snapshot_id, "images": counts, "copies": taken.count_copy,
                    "left_out": [vars(item) for item in taken.left_out]})  # fmt: skip
        return
    click.echo(f"snapshot {taken.snapshot_id}: {len(taken.images)} images, {taken.count_copy} copies folded")
    print_table(["split", *counts["train"]], [[split, *by_class.values()] for split, by_class in counts.items()])
    for item in taken.left_out:
        click.echo(f"left out: {item.image_uri}: {item.reason}", err=True)
