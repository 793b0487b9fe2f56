"""Tests of DICOM files from snapshot to report: accuracy by group, and claims about patients."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from functools import cache
from html import unescape

import numpy as np
import pytest
from numpy.typing import NDArray

from braintumor.config.settings import Settings
from braintumor.dataset.images.patient_ids import PatientIds
from braintumor.dataset.snapshot import Snapshot, load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.dataset.take_snapshot import snapshot_of
from braintumor.db import database
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import CLASSES, TumorClass
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from tests.dicom_files import mr_of
from tests.sql import change, rows

PER_CLASS = 40
SECRETS = ("PAT-", "Jane", "1.2.826.0.1", "19540321", "20261123", "St. Elsewhere", "045Y", "071Y", "15000")


def head(label: TumorClass, number: int) -> NDArray[np.uint8]:
    return draw(label, seed=50_000 + number + 1000 * label.position, size=96).pixels


@cache
def dicom(label: TumorClass, number: int) -> bytes:
    """Return one of two slices of a patient. 3 of 4 patients are 45 years old, 1 of 2 have sex and scanner."""
    patient = number // 2
    is_known = patient % 2 == 0
    study = f"1.2.826.0.1.{label.position}.{patient}"
    return mr_of(
        head(label, number),
        PatientID=f"PAT-{label}-{patient}",
        PatientName="Jane^Doe",
        PatientBirthDate="19540321",
        StudyDate="20261123",
        InstitutionName="St. Elsewhere",
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        PatientAge="071Y" if patient % 4 == 3 else "045Y",
        PatientSex="F" if is_known else "",
        Manufacturer="Jane^Doe Scanners" if is_known else None,
        MagneticFieldStrength="15000" if is_known else None,
        ScanningSequence="SE",
        RepetitionTime=500,
        EchoTime=12,
    )


@pytest.fixture
def dataset(settings: Settings) -> Settings:
    """Settings with 40 DICOM files of each class, without earlier splits."""
    own = replace(settings, dataset_uri=f"s3://braintumor/dicom-{uuid.uuid4().hex}/")
    store, prefix = ObjectStore.connect(own), S3Uri.parse(own.require("dataset_uri"))
    for label in CLASSES:
        for number in range(PER_CLASS):
            store.write(prefix / f"{label}/{number}.dcm", dicom(label, number))
    return own


def report_and_card(settings: Settings, snapshot: Snapshot) -> tuple[str, str]:
    """Evaluate the tiny model as if trained on this snapshot, and return its report without plots, and its card.

    The base64 text of a plot can contain any word of four letters by chance.
    """
    change(settings, "update training_run set snapshot_id = :id", id=snapshot.snapshot_id)
    evaluate_model(settings, "1", access_key="once")
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    folder = S3Uri.parse(model_versions.champion(engine).artifact_uri)
    engine.dispose()
    report, card = (store.read(folder / name).decode() for name in ("report.html", "model_card.md"))
    return unescape(re.sub("base64,[^\"']*", "", report)), card


VALUES = {
    ("age_band", "40 to 59"),
    ("age_band", "60 to 79"),
    ("sex", "F"),
    ("sex", "not given"),
    ("manufacturer", "other"),
    ("manufacturer", "not given"),
    ("field_strength", "1.5 T"),
    ("field_strength", "not given"),
    ("sequence", "T1-weighted spin echo"),
}
"""Attribute values that the headers of the test images can have."""


def test_dicom_groups_are_reported_without_identities(dataset: Settings) -> None:
    snapshot = snapshot_of(dataset)
    count = len(snapshot.images)
    assert snapshot.identified == PatientIds(count_image=count, count_identified=count, count_patient=count)
    assert count > 0.9 * 4 * PER_CLASS
    report, card = report_and_card(dataset, snapshot)

    test = snapshot.of_split(Split.TEST)
    groups = rows(
        dataset,
        """
        select attribute, value, count_image, count_group from evaluation_slice
        where attribute in ('age_band', 'sex', 'manufacturer', 'field_strength', 'sequence')""",
    )
    assert {(attribute, value) for attribute, value, *_ in groups} <= VALUES
    for name in ("age_band", "sex", "manufacturer", "field_strength", "sequence"):
        assert sum(n for attribute, _, n, _ in groups if attribute == name) == len(test), "every image is in one group"
    women = [image.group_key for image in test if image.attributes.get("sex") == "F"]
    patients = len({image.group_key for image in test})
    assert ("sex", "F", len(women), len(set(women))) in groups and len(women) > len(set(women)) > 0
    assert len(test) >= 20 > patients

    assert f"| sex | F | {len(set(women))} | {len(women)} | not assessed |" in card
    assert f"| sequence | T1-weighted spin echo | {patients} | {len(test)} | not assessed |" in card
    assert f"field_strength 1.5 T ({len(set(women))} groups, {len(women)} images)" in card, "listed as not assessed"
    assert "60 to 79" in report and "T1-weighted spin echo" in report
    for text in (report, card):
        assert f"all {count} images carry a patient identifier, and no patient's images are in two splits" in text
        assert "cannot be verified" not in text and "because no test image has it" not in text

    kept = rows(dataset, "select to_jsonb(s) - 'left_out', to_jsonb(i) - 'image_uri' from snapshot s join "
                "snapshot_image i using (snapshot_id) where snapshot_id = :id", id=snapshot.snapshot_id)  # fmt: skip
    for text in (report, card, str(kept), str(groups)):
        assert not [secret for secret in SECRETS if secret in text]


def test_no_patient_is_in_two_splits(dataset: Settings) -> None:
    start = len(dataset.require("dataset_uri"))
    split = {image.image_uri[start:]: image.split for image in snapshot_of(dataset).images}
    pairs = [
        (split.get(f"{label}/{number}.dcm"), split.get(f"{label}/{number + 1}.dcm"))
        for label in CLASSES
        for number in range(0, PER_CLASS, 2)
    ]
    whole = [pair for pair in pairs if None not in pair]
    assert len(whole) > 60 and all(first is second for first, second in whole)


def test_few_patient_identifiers_are_counted_without_empty_rows(settings: Settings) -> None:
    snapshot = snapshot_of(settings)  # 120 phantoms, of which 4 are DICOM and none of these in test
    assert snapshot.identified == PatientIds(count_image=120, count_identified=4, count_patient=4)
    for text in report_and_card(settings, snapshot):
        assert "Patient independence cannot be verified: only 4 of 120 images carry a patient or study" in text
        assert "because no test image has it: age, sex, manufacturer, field strength, sequence." in text
        assert "not given" not in text and "field_strength" not in text


def test_an_old_snapshot_gets_identifier_counts_when_retaken(settings: Settings) -> None:
    change(settings, "update snapshot set count_identified = null, count_patient_identified = null")
    engine = database.connect(settings)
    ((snapshot_id,),) = rows(settings, "select snapshot_id from snapshot")
    assert load_snapshot(engine, snapshot_id).identified is None
    again = snapshot_of(settings)
    assert again.snapshot_id == snapshot_id and load_snapshot(engine, snapshot_id) == again
    assert again.identified is not None
    engine.dispose()
