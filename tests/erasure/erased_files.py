# ruff: noqa: E501
"""Erase a person, change DICOM files, and find what is left of a person."""

from __future__ import annotations

import io

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.erasure import Erasure, erase
from braintumor.s3 import ObjectStore, S3Uri
from devstack.stack import Stack
from tests.conftest import as_role
from tests.sql import rows


def as_eraser(stack: Stack, scored: Settings, subject: str, *, with_objects: bool = True) -> Erasure:
    """Erase with the role of the eraser, objects in S3 too."""
    eraser = as_role(stack, scored, Role.ERASER)
    return erase(eraser, subject, actor="dpo", reason="asked", with_objects=with_objects)


def pydicom_of(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def changed(data: bytes, **elements: str) -> bytes:
    """Return the DICOM file with changed values."""
    dataset, stream = pydicom_of(data), io.BytesIO()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def of_two_frames(data: bytes) -> bytes:
    """Return the DICOM file with its frame twice."""
    dataset, stream = pydicom_of(data), io.BytesIO()
    dataset.NumberOfFrames, dataset.PixelData = 2, dataset.PixelData * 2
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def found_in_database(scored: Settings, words: list[str]) -> list[tuple[str, str]]:
    """Return the tables with one of the words, and the tables with rows of the erased scans."""
    tables = rows(
        scored, "select relname::text from pg_class where relnamespace = 'braintumor'::regnamespace and relkind = 'r'"
    )
    found = []
    for (table,) in tables:
        held = f"select distinct word from {table} as row, unnest(:words) as word where strpos(to_jsonb(row)::text, word) > 0"
        found += [(table, word) for (word,) in rows(scored, held, words=words)]
        gone = f"select count(*) from {table} as row where (to_jsonb(row) ->> 'scan_id')::bigint in (1, 2)"
        found += [(table, "scan_id") for (count,) in rows(scored, gone) if count]
    return found


def found_in_store(scored: Settings, words: list[str]) -> list[str]:
    """Return the objects with one of the words in content or name, or that show an erased scan."""
    store, own = ObjectStore.connect(scored), S3Uri.parse(scored.require("scans_uri"))
    prefix = S3Uri(bucket=own.bucket, key=own.key.removesuffix("scans/"))
    words = [*words, "ANN", "Scan 1:", "Scan 2:", *(word[:12] for word in words if len(word) == 64)]
    found = []
    for entry in store.list(prefix):
        data = store.read(S3Uri(bucket=entry.bucket, key=entry.key))
        found += [entry.key for word in words if word.encode() in data or word in entry.key.rpartition("/")[2]]
    return found
