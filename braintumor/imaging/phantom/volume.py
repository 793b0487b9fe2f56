"""Draw phantom volumes of many slices, as NIfTI or as a multi-frame DICOM MR object, without patient data.

The middle slice is a phantom. Toward both ends of the volume the same slice shrinks, and the outer slices show air.
Such a volume does not model anatomy. It serves to test readers, orientation and the selection of slices.
"""

from __future__ import annotations

import gzip
import io

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

from braintumor.imaging.phantom.slice import draw
from braintumor.labels import TumorClass

_END_OF_HEAD = 0.8
"""Distance from the middle slice to the end of the head, as a share of half the volume's height."""
_WINDOW = (127.5 * 16, 255.0 * 16)
"""Center and width of the DICOM window (function LINEAR_EXACT) that shows 16 * p as the gray level p."""


def draw_volume(label: TumorClass, *, seed: int, slices: int = 24, size: int = 96) -> NDArray[np.uint8]:
    """Return axial slices in radiological view, from the feet up: uint8 (slices, size, size), with air at both ends."""
    middle = Image.fromarray(draw(label, seed=seed, size=size).pixels).resize((size, size))
    volume = np.zeros((slices, size, size), np.uint8)
    for index in range(slices):
        height = (2 * index + 1 - slices) / slices / _END_OF_HEAD  # -1 to 1 in the head
        side = round(size * np.sqrt(max(0, 1 - height * height)))
        start = (size - side) // 2
        if side:
            volume[index, start : start + side, start : start + side] = np.asarray(middle.resize((side, side)))
    return volume


def as_nifti(volume: NDArray[np.uint8], *, axes: str = "RAS", is_gzipped: bool = True) -> bytes:
    """Return slices (slices, H, W) of ``draw_volume`` as a NIfTI-1 file with voxels of 1 mm.

    ``axes`` are the sides of the patient to which the voxel axes point, such as ``LPS``.
    """
    canonical = volume[:, ::-1, ::-1].transpose(2, 1, 0)  # x to the right, y to the front, z to the head
    image = nibabel.Nifti1Image(canonical, np.eye(4))
    target = nibabel.orientations.axcodes2ornt(tuple(axes))
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), target)
    data: bytes = image.as_reoriented(turn).to_bytes()
    return gzip.compress(data, mtime=0) if is_gzipped else data


def as_enhanced_mr(volume: NDArray[np.uint8], *, seed: int, windows: bool = True) -> bytes:
    """Return slices (slices, H, W) of ``draw_volume`` as an enhanced MR object in Explicit VR Little Endian.

    ``seed`` determines the DICOM identifiers. ``windows`` says whether each frame states its window.
    """

    def uid(kind: str) -> str:
        return str(generate_uid(entropy_srcs=["braintumor phantom volume", kind, str(seed)]))

    scan = pydicom.Dataset()
    scan.file_meta = pydicom.dataset.FileMetaDataset()
    scan.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    scan.SOPClassUID, scan.SOPInstanceUID = EnhancedMRImageStorage, uid("instance")
    scan.StudyInstanceUID, scan.SeriesInstanceUID = uid("study"), uid("series")
    scan.Modality, scan.ImageType = "MR", ["DERIVED", "PRIMARY", "OTHER", "NONE"]
    scan.PatientID, scan.PatientName = f"PHANTOM-VOLUME-{seed:010d}", "Phantom^Synthetic"
    scan.NumberOfFrames = len(volume)
    if windows:
        scan.PerFrameFunctionalGroupsSequence = [_window() for _ in volume]
    scan.set_pixel_data(volume[0].astype(np.uint16) * 16, "MONOCHROME2", 12, generate_instance_uid=False)
    scan.NumberOfFrames = len(volume)
    scan.PixelData = (volume.astype("<u2") * 16).tobytes()
    buffer = io.BytesIO()
    scan.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _window() -> pydicom.Dataset:
    voi = pydicom.Dataset()
    voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = *_WINDOW, "LINEAR_EXACT"
    group = pydicom.Dataset()
    group.FrameVOILUTSequence = [voi]
    return group
