"""Test that a scoring run stores the attributes of DICOM scans, scored or rejected, and no name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.imaging.pseudonym import pseudonym
from braintumor.scoring.job import run_scoring_job
from braintumor.scoring.scan_status import scan_record
from tests.conftest import Put
from tests.dicom_files import retagged
from tests.images import png
from tests.sql import rows

TAGS = {
    "Manufacturer": "SIEMENS", "ManufacturerModelName": "Skyra", "MagneticFieldStrength": 2.89, "PatientAge": "091Y",
    "PatientSex": "F", "ContrastBolusAgent": "GADOVIST", "InstitutionName": "Doe Clinic", "StationName": "DOE7",
}  # fmt: skip
STORED = """
    select manufacturer, device_model, field_strength, sequence_family, age_band, sex, site_pseudonym, station_pseudonym
    from scan order by scan_id"""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a single-frame MR object, which the header calls T1-weighted."""
    files = write_unlabeled(tmp_path_factory.mktemp("phantom"), count=20, seed=4)
    return next(path for path in files if path.suffix == ".dcm").read_bytes()


def test_scored_and_rejected_scans_keep_their_attributes(settings: Settings, put: Put, phantom: bytes) -> None:
    put("1.dcm", retagged(phantom, **TAGS))
    put("2.dcm", retagged(phantom, **TAGS, BurnedInAnnotation="YES", PatientID="another"))
    put("3.png", png())
    put("4.dcm", phantom)
    run_scoring_job(settings, run_key="night")
    key = settings.require("pseudonym_key").encode()
    site = pseudonym("DOE CLINIC", kind="site", key=key)
    station = pseudonym("DOE CLINIC\0DOE7", kind="station", key=key)
    full = ("siemens", "skyra", "3 T", "T1 with contrast", "90 and over", "F", site, station)
    plain = ("other", None, None, "T1", None, None, None, None)
    assert rows(settings, STORED) == [full, full, (None,) * 8, plain]
    assert rows(settings, "select state::text, patient_pseudonym is null from scan order by scan_id") == [
        ("scored", False),
        ("rejected", False),
        ("scored", True),
        ("scored", False),
    ]
    assert "doe" not in str(rows(settings, "select to_jsonb(scan) from scan")).lower()
    engine = database.connect(settings)
    assert scan_record(engine, 2)["device_model"] == "skyra"
    engine.dispose()


def test_attributes_are_not_stored_if_the_setting_is_no(settings: Settings, put: Put, phantom: bytes) -> None:
    put("1.dcm", retagged(phantom, **TAGS))
    put("2.dcm", retagged(phantom, **TAGS, BurnedInAnnotation="YES"))
    run_scoring_job(replace(settings, scan_attributes="no"), run_key="night")
    assert rows(settings, STORED) == [(None,) * 8] * 2
    assert rows(settings, "select count(distinct patient_pseudonym) from scan") == [(1,)]


def test_stations_of_one_name_at_two_sites_differ(settings: Settings, put: Put, phantom: bytes) -> None:
    put("1.dcm", retagged(phantom, StationName="MR1", InstitutionName="North"))
    put("2.dcm", retagged(phantom, StationName="MR1", InstitutionName="South", PatientID="another"))
    run_scoring_job(settings, run_key="night")
    assert rows(settings, "select count(distinct station_pseudonym) from scan") == [(2,)]


def test_overwritten_scan_gets_attributes_of_its_new_version(settings: Settings, put: Put, phantom: bytes) -> None:
    put("1.dcm", retagged(phantom, **TAGS, BurnedInAnnotation="YES"))
    run_scoring_job(settings, run_key="night")
    put("1.dcm", phantom)
    run_scoring_job(settings, run_key="next")
    subgroups = "select scan_id, attribute, subgroup from scan_subgroup where attribute = 'manufacturer' order by 1"
    assert rows(settings, subgroups) == [(1, "manufacturer", "siemens"), (2, "manufacturer", "other")]
