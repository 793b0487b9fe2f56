"""Phantoms of many frames: a head of slices as NIfTI or as a multi-frame MR object. No patient.

The middle slice is a phantom; toward both ends the same slice shrinks, and beyond the head there is air. So a volume
is no model of anatomy: it is enough to try readers, orientation and the choice of slices.
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
"""Of half the volume's height."""
_WINDOW = (127.5 * 16, 255.0 * 16)
"""Centre and width, of function LINEAR_EXACT, that take 16 * p back to the 8-bit p."""


def draw_volume(label: TumorClass, *, seed: int, slices: int = 24, size: int = 96) -> NDArray[np.uint8]:
    """Axial slices as radiologists see them, from the feet up: uint8 (slices, size, size), air at both ends."""
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
    """Slices of ``draw_volume`` as one NIfTI-1 file whose axes run to these sides, such as ``LPS``; voxels of 1 mm."""
    canonical = volume[:, ::-1, ::-1].transpose(2, 1, 0)  # x to the right, y to the front, z to the head
    image = nibabel.Nifti1Image(canonical, np.eye(4))
    wanted = nibabel.orientations.axcodes2ornt(tuple(axes))
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), wanted)
    data: bytes = image.as_reoriented(turn).to_bytes()
    return gzip.compress(data, mtime=0) if is_gzipped else data


def as_enhanced_mr(volume: NDArray[np.uint8], *, seed: int, windows: bool = True) -> bytes:
    """Slices as one enhanced MR object, Explicit VR Little Endian; each frame has a window of its own, or none has."""

    def uid(what: str) -> str:
        return str(generate_uid(entropy_srcs=["braintumor phantom volume", what, str(seed)]))

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
