"""Start Postgres and S3 with models of random weights and image files, for benchmarks of scoring runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from benchmarks.discovery import pretend_champion
from braintumor.config.settings import Settings
from braintumor.dataset.images.local_folder import labeled_files, upload
from braintumor.db import database, migrations
from braintumor.imaging.phantom.slice import write_dataset
from braintumor.imaging.phantom.volume import as_nifti
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import ScoringJob
from devstack.stack import Stack

SIZE = 224

_PLACE = "-" * 64
"""Comment in a DICOM file. To make the file's bytes unique, other text of the same length replaces the comment."""
_DESCRIPTION = 148
"""Position of the description in the header of a NIfTI-1 file, in bytes."""
_VOLUME_SIDE = 256

Speed = Callable[[], float]
"""A function that does the measured work once, and returns its speed in files per second."""


@dataclass(frozen=True, kw_only=True)
class ScoringStack:
    """Running servers of Postgres and S3, with models and local image files.

    Attributes:
        stack: the servers.
        settings: connections to the servers.
        store: the S3 client.
        files: JPEG files of 512 x 512 pixels, the size of most images of the SARTAJ dataset.
        models: the registered models of one backbone, by precision.
    """

    stack: Stack
    settings: Settings
    store: ObjectStore
    files: list[Path]
    models: dict[str, model_versions.ModelVersion]

    def promote(self, model: model_versions.ModelVersion) -> None:
        """Promote a model to champion."""
        _braintumor(self.settings, "model", "promote", model.model_name, "--override", "--reason", "benchmark")

    def write_files(self) -> S3Uri:
        """Write all files to S3 with new bytes below a new prefix, and return the prefix.

        The bytes are new, because a scoring run does not predict duplicates again.
        """
        prefix = S3Uri.parse(self.settings.require("scans_uri")) / f"{time.time_ns()}/"

        def put(path: Path) -> None:
            self.store.write(prefix / path.name, _commented(path, str(prefix)))

        list(self.store.concurrently(put, self.files))
        return prefix

    def scoring_speed(self) -> Speed:
        """Return a function that scores all files with the champion, and returns its speed in files per second.

        Each run has its own S3 prefix. The files are written there before the time is measured.
        """
        opened = ScoringJob.open(self.settings)

        def score() -> float:
            prefix = self.write_files()
            started = time.perf_counter()
            run, _ = opened.begin(run_key=str(prefix), scans_uri=str(prefix))
            for chunk in opened.plan(run.scoring_run_id):
                opened.score(run.scoring_run_id, chunk)
            balance = opened.reconcile(run.scoring_run_id)
            seconds = time.perf_counter() - started
            assert balance.count_scored == len(self.files), balance
            return len(self.files) / seconds

        return score


@contextmanager
def scoring_stack(
    backbone: str | None, count: int, *, images: Path | None = None, airflow: bool = False, in_8_bits: bool = False
) -> Iterator[ScoringStack]:
    """Start the servers, train ``backbone`` for one epoch on a few phantoms, and write ``count`` files.

    Without a backbone, the champion has no files. The files are phantoms, or copies of files below ``images``.
    """
    with TemporaryDirectory(prefix="scoring-") as scratch, Stack(Path(scratch) / "stack", airflow=airflow) as stack:
        cache = {"BRAINTUMOR_CACHE_FOLDER": str(Path(scratch) / "cache")}
        settings = Settings.from_environment({**stack.library_env(), **cache})
        engine, store = database.connect(settings), ObjectStore.connect(settings)
        migrations.migrate(engine)
        if backbone is None:
            pretend_champion(engine)
        else:
            _train(settings, store, Path(scratch) / "labeled", backbone, in_8_bits=in_8_bits)
        models = {model.precision: model for model in reversed(model_versions.list_models(engine))}
        scans = Path(scratch) / "scans"
        yield ScoringStack(
            stack=stack,
            settings=settings,
            store=store,
            files=copy_files(images, scans, count) if images else write_files(scans, count),
            models=models,
        )
        engine.dispose()


def _train(settings: Settings, store: ObjectStore, folder: Path, backbone: str, *, in_8_bits: bool) -> None:
    from braintumor.training.export.quantize import Bounds, quantize_model

    write_dataset(folder, per_class=12, seed=0)
    upload(store, labeled_files(folder), S3Uri.parse(settings.require("dataset_uri")))
    _braintumor(settings, "train", "--recipe", f"{backbone}_small", "--set", f"image_size={SIZE}", "--set", "epochs=1")
    if in_8_bits:
        (whole,) = model_versions.list_models(database.connect(settings))
        bounds = Bounds(changed=1.0, lost=1.0)  # predictions do not matter
        quantize_model(settings, whole.model_name, bounds=bounds)


def _braintumor(settings: Settings, *arguments: str) -> None:
    command = [sys.executable, "-m", "braintumor", *arguments]
    environment = {**os.environ, **settings.to_environment()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)


def write_files(folder: Path, count: int) -> list[Path]:
    """Write ``count`` different JPEG files into ``folder``, and return their paths.

    Each file shows a slice of a phantom with different noise.
    """
    drawn, rng = folder / "drawn", np.random.default_rng(0)
    write_dataset(drawn, per_class=4, seed=2)
    slices = [Image.open(path).convert("L").resize((512, 512)) for path in sorted(drawn.rglob("*.*g"))]
    files = [folder / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(files):
        noisy = np.asarray(slices[number % len(slices)], np.float32) + rng.normal(0, 4, (512, 512))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert("RGB").save(path, quality=90)
    return files


def copy_files(images: Path, folder: Path, count: int) -> list[Path]:
    """Copy ``count`` JPEG files of 512 x 512 pixels from ``images`` into ``folder``, and return the copies.

    Raises:
        ValueError: there are fewer than ``count`` such files.
    """
    found = [path for path in sorted(images.rglob("*.jpg")) if Image.open(path).size == (512, 512)]
    if len(found) < count:
        raise ValueError(f"{images} has {len(found)} JPEG files of 512 x 512 pixels. Give a smaller --count.")
    folder.mkdir()
    return [Path(shutil.copy(found[number * len(found) // count], folder / f"{number}.jpg")) for number in range(count)]


def to_mr_object(path: Path) -> Path:
    """Write the image of a file as an uncompressed 16-bit DICOM MR file with a window, and return its path."""
    pixels = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 8
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.Modality, dataset.Manufacturer = "MR", "SIEMENS"
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.MRImageStorage, uid.generate_uid(entropy_srcs=[path.name])
    dataset.PatientAge, dataset.PatientSex, dataset.ImageComments = "045Y", "F", _PLACE
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.WindowCenter, dataset.WindowWidth = 1020, 2040
    dataset.PixelData = pixels.tobytes()
    written = path.parent / "mr" / f"{path.stem}.dcm"
    written.parent.mkdir(exist_ok=True)
    dataset.save_as(written, enforce_file_format=True)
    return written


def to_volume(path: Path) -> Path:
    """Write a NIfTI file of 8 slices that show the image of a file, and return the path."""
    pixels = np.asarray(Image.open(path).convert("L").resize((_VOLUME_SIDE, _VOLUME_SIDE)))
    written = path.parent / "volumes" / f"{path.stem}.nii"
    written.parent.mkdir(exist_ok=True)
    slices = np.stack([np.roll(pixels, 3 * place, axis=1) for place in range(8)])  # equal slices look like labels
    written.write_bytes(as_nifti(slices, is_gzipped=False))
    return written


def _commented(path: Path, words: str) -> bytes:
    """Return the bytes of a file with ``words``, or a hash of it, as a comment. The image stays the same.

    The bytes must differ, because a scoring run does not predict duplicates again.
    """
    data, comment = path.read_bytes(), words.encode()
    digest = sha256(comment).hexdigest().encode()
    if path.suffix == ".dcm":
        return data.replace(_PLACE.encode(), digest, 1)
    if path.suffix == ".nii":
        return data[:_DESCRIPTION] + digest + data[_DESCRIPTION + len(digest) :]
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + data[2:]
