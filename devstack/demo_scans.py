"""Write the files that the demo scores: valid files, and typical unusable files."""

from __future__ import annotations

from pathlib import Path

import pydicom

from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.imaging.phantom.volume import as_enhanced_mr, as_nifti, draw_volume
from braintumor.labels import TumorClass
from braintumor.s3 import ObjectStore, S3Uri

_COUNT = 40


_SCANNERS = (("SIEMENS", "Skyra", 3.0), ("GE MEDICAL SYSTEMS", "SIGNA Artist", 1.5), ("Philips", "Ingenia", 1.5))
"""Manufacturer, model and field strength in tesla of the demo's scanners."""


def write_demo_scans(store: ObjectStore, scans: S3Uri, scratch: Path, given: Path | None) -> None:
    """Write the files of one night under the S3 prefix ``scans``.

    The files are those of the folder ``given``. If ``given`` is ``None``, they are new phantoms, a NIfTI volume and a
    multi-frame MR object. A duplicate, a truncated file and a text file are added. Phantoms are drawn in the folder
    ``scratch`` first.
    """
    night = sum(1 for entry in store.list(scans) if entry.key.endswith("/words.jpg")) + 1
    arriving = scans / f"night-{night:04}/"
    if given is None:
        files = write_unlabeled(scratch / "night", count=_COUNT, seed=night)
        for number, path in enumerate((path for path in files if path.suffix == ".dcm"), start=night):
            _add_scanner(path, number)
        volume = draw_volume(TumorClass.MENINGIOMA, seed=night)
        store.write(arriving / "volume.nii.gz", as_nifti(volume))
        store.write(arriving / "volume.dcm", as_enhanced_mr(volume, seed=night))
    else:
        files = sorted(path for path in given.rglob("*") if path.is_file())
    for path in files:
        store.write(arriving / (path.relative_to(given).as_posix() if given else path.name), path.read_bytes())
    whole = next((path for path in files if path.suffix == ".jpg"), files[0]).read_bytes()
    store.write(arriving / "duplicate.jpg", whole)
    store.write(arriving / "truncated.jpg", whole[: len(whole) // 2])
    store.write(arriving / "words.jpg", f"night {night}: this is text, whatever its name says\n".encode())


def _add_scanner(path: Path, number: int) -> None:
    """Write a scanner, an age and a sex into the header of a DICOM file, so that the demo shows subgroups."""
    scan = pydicom.dcmread(path)
    scan.Manufacturer, scan.ManufacturerModelName, scan.MagneticFieldStrength = _SCANNERS[number % len(_SCANNERS)]
    scan.InstitutionName, scan.StationName = "Demo hospital", f"MR{number % len(_SCANNERS) + 1}"
    scan.PatientAge, scan.PatientSex = f"{20 + 7 * number % 75:03}Y", "FM"[number // len(_SCANNERS) % 2]
    scan.save_as(path)
