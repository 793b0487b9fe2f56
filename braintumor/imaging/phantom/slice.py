"""Draw synthetic labeled axial brain slices ("phantoms") for training, tests and demonstrations without patient data.

A phantom imitates a contrast-enhanced T1-weighted slice at the level of the suprasellar cistern. Only this level shows
all three tumors. Three random streams, derived from the phantom's seed, give the anatomy, the lesion and the noise. So
a tumor phantom and the normal phantom of the same seed are equal outside the lesion's mask.

Lengths are in head units: 1 is half the head's long axis, 0.42 to 0.46 of the canvas's longer side. ``x`` grows to the
right, ``y`` to the back of the head. Both are 0 at the head's center and rotate with the head. Signal is 0 (air) to
about 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from braintumor.errors import DatasetError
from braintumor.labels import CLASSES, TumorClass

Field: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]
Layer: TypeAlias = tuple[Field | np.float32, Field]  # signal to paint, and its opacity, exactly 0 outside the mask

_ANATOMY, _LESION, _NOISE, _ORDER, _CLASS = range(5)
SEEDS_PER_SET = 1_000_000
"""Number of phantom seeds per base seed. Labeled sets use the lower half, unlabeled sets the upper half."""
_EXTENSIONS = ("dcm", *("png",) * 6, *("jpg",) * 13)
_WINDOW = (2040.5, 4081.0)  # center and width of the DICOM window that shows a stored 16 * p as the gray level p


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """One synthetic slice. ``draw`` gives the same slice again for the same ``label`` and ``seed``."""

    label: TumorClass
    seed: int
    pixels: NDArray[np.uint8]  # (H, W)
    mask: Mask  # (H, W), True if the lesion or its edema may change the pixel


@dataclass(frozen=True, kw_only=True)
class _Head:
    """The slice without lesion and noise. Every field has the shape (H, W) of the canvas."""

    x: Field
    y: Field
    depth: Field  # 0 at the center, 1 at the inner table of the skull
    signal: Field
    white: Field  # 0..1, share of white matter
    gain: Field  # receive-coil bias times scanner gain


def draw(label: TumorClass, *, seed: int, size: int = 256) -> Phantom:
    """Draw one phantom. The same arguments always give the same phantom.

    ``size`` is the nominal side of the canvas in pixels. The seed determines the shape of the canvas. Two of five
    canvases are squares of side ``size``. The others have sides of 0.72 to 1.15 times ``size``.
    """
    head = _draw_head(np.random.default_rng([seed, _ANATOMY]), size)
    signal, mask = head.signal, np.zeros(head.signal.shape, np.bool_)
    for paint, opacity in _lesion(label, np.random.default_rng([seed, _LESION]), head):
        signal = signal + opacity * (paint - signal)
        mask |= opacity > 0
    return Phantom(label=label, seed=seed, pixels=_acquire(signal, head, seed), mask=mask)


def redraw(label: TumorClass, name: str) -> Phantom:
    """Draw again the phantom that a file name or object key such as ``mri/phantom-0001000012.png`` names."""
    return draw(label, seed=_seed_of(name))


def _seed_of(name: str) -> int:
    match = re.search(r"-(\d+)$", PurePosixPath(name).stem)
    if match is None:
        raise DatasetError(
            f"{name!r} is not the name of a phantom. Allowed: names like phantom-0001000012.png, with the seed after "
            "the last dash. Pass the name of a file that write_dataset or write_unlabeled wrote."
        )
    return int(match.group(1))


def _length(x: Field, y: Field) -> Field:
    """Return the lengths of the vectors (x, y), several times faster than ``np.hypot``, which prevents overflow."""
    return np.asarray(np.sqrt(x * x + y * y), np.float32)


def _interpolate(knots: Field, length: int) -> Field:
    """Return ``length`` points (length, N) on the uniform cubic B-spline with the knots (cells + 3, N).

    The function uses no BLAS, so that every machine gives the same bits.
    """
    place = np.linspace(0, len(knots) - 3, length, endpoint=False)
    cell = place.astype(np.intp)
    t = (place - cell).astype(np.float32)[:, None]
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (t - t**3 + t**2) + 1, t**3)
    total = np.sum([w * knots[cell + k] for k, w in enumerate(weights)], axis=0)
    return np.asarray(total / np.float32(6), np.float32)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Field:
    """Return a smooth random field (H, W) of about unit variance with bumps of 1/``cells`` of the canvas's width."""
    knots = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32) * np.float32(2.1)
    return _interpolate(np.ascontiguousarray(_interpolate(knots.T, shape[1]).T), shape[0])


def _ramp(value: NDArray[np.floating[Any]], start: float, stop: float) -> Field:
    """Return 0 up to ``start``, 1 from ``stop`` on, and linear values between. The ramp falls if ``start > stop``."""
    return np.asarray(np.clip((value - np.float32(start)) * np.float32(1 / (stop - start)), 0, 1), np.float32)


def _blob(x: Field, y: Field, at: tuple[float, float], radii: tuple[float, float], tilt: float = 0.0) -> Field:
    """Return the elliptic distance (H, W) of head coordinates (H, W) from ``at``: below 1 inside, 1 on the border.

    ``at`` is the center of the ellipse, ``radii`` are its half axes in head units. ``tilt`` is its rotation in radians.
    """
    c, s = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    u, v = x - np.float32(at[0]), y - np.float32(at[1])
    return _length((c * u + s * v) * np.float32(1 / radii[0]), (c * v - s * u) * np.float32(1 / radii[1]))


def _ripple(rng: np.random.Generator, x: Field, y: Field, amounts: tuple[float, ...]) -> Field:
    """Return 1 plus a random sum (H, W) of the harmonics 2, 3, ... of the angle around (0, 0).

    ``amounts`` are the greatest amplitudes of the harmonics. A distance divided by the result has a wavy outline.
    """
    radius = _length(x, y) + np.float32(1e-6)
    cos, sin = x / radius, y / radius
    cos_k, sin_k = cos, sin
    total = np.ones(radius.shape, np.float32)
    for amount in amounts:
        cos_k, sin_k = cos_k * cos - sin_k * sin, sin_k * cos + cos_k * sin
        phase, size = rng.uniform(0, 2 * np.pi), amount * rng.uniform(0.5, 1)
        if amount:
            total += np.float32(size * np.cos(phase)) * cos_k - np.float32(size * np.sin(phase)) * sin_k
    return total


def _grid(rng: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Return the head coordinates x and y (H, W) of every pixel, for a random canvas of nominal side ``size``."""
    square = rng.random() < 0.4  # noqa: PLR2004
    sides = np.rint(size * rng.uniform(0.85, 1.15) * rng.uniform((0.95, 0.85), (1.0, 1.0))).astype(int)
    height, width = (size, size) if square else (int(sides[0]), int(sides[1]))
    unit = max(height, width) * rng.uniform(0.42, 0.46)
    center = np.array([width, height]) / 2 + rng.uniform(-0.03, 0.03, 2) * size
    turn = rng.uniform(-0.35, 0.35)
    px = ((np.arange(width) - center[0]) / unit).astype(np.float32)[None, :]
    py = ((np.arange(height) - center[1]) / unit).astype(np.float32)[:, None]
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return c * px + s * py, c * py - s * px


def _draw_head(rng: np.random.Generator, size: int) -> _Head:
    """Return the slice without lesion and noise: anatomy, contrast and the receive coil's bias."""
    x, y = _grid(rng, size)
    narrow = np.float32(rng.uniform(0.76, 0.86))
    radius = _length(x / narrow, y) / _ripple(rng, x, y, (0.02, 0.012, 0.008))
    depth = radius / np.float32(rng.uniform(0.85, 0.89))
    csf, gray, white_level = rng.uniform(0.08, 0.16), rng.uniform(0.34, 0.42), rng.uniform(0.50, 0.60)
    white, fluid = _tissue(rng, x, y, depth)
    texture = 1 + np.float32(0.035) * _smooth_noise(rng, x.shape, 60)
    brain = (gray + white * (white_level - gray)) * texture
    brain = brain + fluid * (csf - brain)
    brain = _vessels(rng, np.abs(x), y, brain)
    bone = _skull(rng, x, radius)
    signal = bone + _ramp(depth, 1.01, 0.99) * (brain - bone)
    bias = np.exp(np.float32(rng.uniform(0.05, 0.14)) * _smooth_noise(rng, x.shape, 2))
    gain = bias * np.float32(rng.uniform(200, 240))
    return _Head(x=x, y=y, depth=depth, signal=signal.astype(np.float32), white=white, gain=gain)


def _tissue(rng: np.random.Generator, x: Field, y: Field, depth: Field) -> tuple[Field, Field]:
    """Return the shares (H, W) of white matter and of fluid in each pixel, for an anatomy with folded cortex."""
    folds = np.abs(_smooth_noise(rng, x.shape, int(rng.integers(24, 30))))
    belt = _ramp(depth, 0.42, 0.70)
    gray = np.maximum(belt * _ramp(folds, 1.0, 0.5), _ramp(depth, 0.90, 0.94))
    fluid = np.maximum(_ramp(depth, 0.5, 0.8) * _ramp(folds, 0.28, 0.08), _ramp(depth, 0.965, 0.985))
    bend = x - np.float32(0.02) * _smooth_noise(rng, x.shape, 5)
    side = np.abs(bend)
    gray = np.maximum(gray, _deep_gray(rng, side, y))
    return 1 - gray, np.maximum.reduce([fluid, _fissures(rng, side, y), _cavities(rng, side, bend, y)])


def _deep_gray(rng: np.random.Generator, side: Field, y: Field) -> Field:
    """Return the share of gray matter in caudate, lentiform nucleus, insula and midbrain."""
    caudate = _blob(side, y, (0.15, -0.26), (0.06, 0.10), 0.3)
    lentiform = _blob(side, y, (0.29, -0.10), (0.09, 0.16), 0.25)
    midbrain = _blob(side, y, (0.0, rng.uniform(0.23, 0.27)), (0.19, 0.14))
    return np.float32(0.85) * _ramp(np.minimum.reduce([caudate, lentiform, midbrain]), 1.1, 0.85)


def _fissures(rng: np.random.Generator, side: Field, y: Field) -> Field:
    """Return the share of fluid in the interhemispheric and the Sylvian fissures."""
    half = rng.uniform(0.010, 0.020)
    middle = _ramp(side, 2 * half, half) * np.maximum(_ramp(y, -0.36, -0.46), _ramp(y, 0.46, 0.56))
    line = np.abs(y + np.float32(0.06) + np.float32(rng.uniform(0.1, 0.4)) * (side - np.float32(0.5)))
    sylvian = _ramp(line, 0.045, 0.02) * _ramp(side, 0.40, 0.46)
    return np.asarray(np.maximum(middle, sylvian), np.float32)


def _cavities(rng: np.random.Generator, side: Field, bend: Field, y: Field) -> Field:
    """Return the share of fluid in frontal and temporal horns, suprasellar and ambient cistern and aqueduct."""
    wide = rng.uniform(0.8, 1.5)
    frontal = _blob(side, y, (0.085, -0.27), (0.028 * wide, 0.12), rng.uniform(-0.35, -0.15))
    temporal = _blob(side, y, (0.38, 0.20), (0.016 * wide, 0.07), 0.5)
    star = _blob(side, y, (0.0, 0.03), (rng.uniform(0.10, 0.14),) * 2) / _ripple(rng, bend, y, (0.0, 0.0, 0.0, 0.22))
    ambient = np.abs(_blob(side, y, (0.0, 0.25), (0.22, 0.17)) - 1) * 10
    aqueduct = _blob(side, y, (0.0, 0.32), (0.02, 0.025))
    return _ramp(np.minimum.reduce([frontal, temporal, star, ambient, aqueduct]), 1.15, 0.85)


def _vessels(rng: np.random.Generator, side: Field, y: Field, brain: Field) -> Field:
    """Return the brain's signal with enhancing vessels: both carotids and a few cortical ones."""
    carotid = _ramp(_blob(side, y, (0.10, rng.normal(0, 0.01)), (0.02, 0.02)), 1.3, 0.7)
    spots: Field = np.maximum(carotid, _ramp(_smooth_noise(rng, y.shape, 36), 2.5, 3.1))
    return brain + spots * (np.float32(rng.uniform(0.55, 0.85)) - brain)


def _skull(rng: np.random.Generator, x: Field, radius: Field) -> Field:
    """Return the signal outside the brain (H, W): air, scalp fat, the skull's dark bone and its brighter marrow."""
    scalp = np.float32(rng.uniform(0.62, 0.82)) * (1 + np.float32(0.08) * _smooth_noise(rng, x.shape, 24))
    bone, marrow = np.float32(rng.uniform(0.05, 0.10)), np.float32(rng.uniform(0.15, 0.4))
    outer = _ramp(radius, 1.01, 0.99) * _ramp(radius, 0.935, 0.955)
    diploe = _ramp(np.abs(radius - np.float32(0.917)), 0.018, 0.006)
    inside = bone + diploe * (marrow - bone)
    return np.where(radius < 1.02, inside + outer * (scalp - inside), 0) * _ramp(radius, 1.01, 0.99)  # noqa: PLR2004


def _lesion(label: TumorClass, rng: np.random.Generator, head: _Head) -> list[Layer]:
    """Return the layers that a class adds to the normal phantom of the same seed, bottom first."""
    painters = {TumorClass.GLIOMA: _glioma, TumorClass.MENINGIOMA: _meningioma, TumorClass.PITUITARY: _pituitary}
    return painters[label](rng, head) if label in painters else []


def _glioma(rng: np.random.Generator, head: _Head) -> list[Layer]:
    """Return the layers of an irregular lesion: necrotic core, broken enhancing ring, edema along white matter."""
    angle, far = rng.uniform(-1.1, 1.1) + rng.choice([0, np.pi]), rng.uniform(0.40, 0.58)
    u, v = head.x - np.float32(0.75 * far * np.cos(angle)), head.y - np.float32(far * np.sin(angle))
    size = rng.uniform(0.23, 0.34)
    rough = _smooth_noise(rng, u.shape, 14)
    rho = _length(u, v) / np.float32(size) / _ripple(rng, u, v, (0.14, 0.12, 0.10, 0.08)) + np.float32(0.07) * rough
    inside = _ramp(head.depth, 0.97, 0.94)
    reach = _ramp(rho, rng.uniform(1.5, 1.9), 1.1) * np.float32(rng.uniform(0.6, 0.9))
    edema = reach * inside * (0.35 + 0.65 * head.white)
    mottle = _smooth_noise(rng, u.shape, 40)
    core = np.float32(rng.uniform(0.10, 0.20)) + np.float32(0.05) * mottle
    thick = rng.uniform(0.22, 0.38)
    ring = _ramp(rho, 1.0, 0.92) * _ramp(rho, 0.92 - thick, 1.0 - thick) * _ramp(rough, -2.2, -1.2)
    rim = np.float32(rng.uniform(0.80, 1.05)) + np.float32(0.10) * mottle
    solid = _ramp(rho, 1.0, 0.9) * inside
    return [(np.float32(rng.uniform(0.24, 0.30)), edema), (core + ring * (rim - core), solid)]


def _meningioma(rng: np.random.Generator, head: _Head) -> list[Layer]:
    """Return the layers of a smooth, even mass on convexity or falx, with a broad base, fluid cleft and dural tail."""
    size, flat = rng.uniform(0.22, 0.30), rng.uniform(0.65, 0.9)
    if rng.random() < 0.3:  # noqa: PLR2004
        at = (rng.choice([-1, 1]) * size * 0.45, rng.choice([-1, 1]) * rng.uniform(0.52, 0.66))
        tilt, dura = np.pi / 2, np.abs(head.x)
    else:
        angle = rng.uniform(0, 2 * np.pi)
        at = (0.70 * (1 - 0.45 * size) * np.cos(angle), 0.86 * (1 - 0.45 * size) * np.sin(angle))
        tilt, dura = angle + np.pi / 2, np.abs(head.depth - 0.97)
    rho = _blob(head.x, head.y, (float(at[0]), float(at[1])), (size, size * flat), float(tilt))
    rho = rho / _ripple(rng, head.x - np.float32(at[0]), head.y - np.float32(at[1]), (0.04, 0.03))
    inside = _ramp(head.depth, 1.0, 0.98)
    even = np.float32(rng.uniform(0.76, 0.98)) * (1 + np.float32(0.02) * _smooth_noise(rng, rho.shape, 30))
    cleft = _ramp(rho, 1.25, 1.12) * inside * np.float32(rng.uniform(0.5, 0.9))
    tail = _ramp(dura, 0.035, 0.015) * _ramp(rho, 1.9, 1.5) * inside
    swollen = _ramp(rho, rng.uniform(1.7, 2.1), 1.35) * _ramp(head.depth, 0.97, 0.94) * (0.3 + 0.7 * head.white)
    return [
        (np.float32(rng.uniform(0.20, 0.27)), swollen * np.float32(rng.uniform(0.8, 1.0))),
        (np.float32(rng.uniform(0.10, 0.18)), cleft),
        (even, np.maximum(tail, _ramp(rho, 1.04, 0.96) * inside)),
    ]


def _pituitary(rng: np.random.Generator, head: _Head) -> list[Layer]:
    """Return the layers of a lobulated midline mass at the sella: grainy, partly cystic, between carotid flow voids."""
    size = rng.uniform(0.17, 0.25)
    u, v = head.x - np.float32(rng.normal(0, 0.015)), head.y - np.float32(rng.normal(0.03, 0.02))
    lobe = _blob(u, v, (0.0, 0.3 * size), (size, 0.8 * size))
    knob = _blob(u, v, (0.0, -0.55 * size), (0.75 * size, 0.65 * size))
    rho = np.minimum(lobe, knob) / _ripple(rng, u, v, (0.0, 0.04, 0.04))
    grain = _smooth_noise(rng, u.shape, 48)
    level, depth = np.float32(rng.uniform(0.34, 0.50)), np.float32(rng.uniform(0.20, 0.28))
    voids = _blob(np.abs(u), v, (1.15 * size, 0.1 * size), (0.045, 0.05))
    rim = _ramp(rho, 1.3, 1.15) * np.float32(rng.uniform(0.6, 0.9))
    body = (level + depth * grain, _ramp(rho, 1.04, 0.94))
    return [(np.float32(0.12), rim), body, (np.float32(0.05), _ramp(voids, 1.2, 0.8))]


def _acquire(signal: Field, head: _Head, seed: int) -> NDArray[np.uint8]:
    """Return the image, uint8 (H, W): the signal with coil gain and Rician noise (Gudbjartsson and Patz, 1995)."""
    rng = np.random.default_rng([seed, _NOISE])
    real, imaginary = np.float32(rng.uniform(2.5, 7.0)) * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    return np.clip(np.rint(_length(signal * head.gain + real, imaginary)), 0, 255).astype(np.uint8)


def write_dataset(
    folder: Path, *, per_class: int, seed: int, progress: Callable[[int], None] | None = None
) -> list[Path]:
    """Write a labeled set of phantoms as ``FOLDER/<class>/phantom-<seed>.{jpg,png,dcm}``, and return the paths.

    The same arguments always give the same bytes. The i-th phantom of every class has the same format and color mode,
    so neither depends on the class. A class has at most 125,000 phantoms. ``seed`` is the base seed, and no two base
    seeds share a phantom. ``progress`` receives the number of files written so far.

    Raises:
        DatasetError: ``per_class`` or ``seed`` is out of range.
    """
    _check("per_class", per_class, seed, most=SEEDS_PER_SET // 2 // len(CLASSES))
    paths: list[Path] = []
    for n in range(per_class * len(CLASSES)):
        phantom = draw(CLASSES[n % len(CLASSES)], seed=seed * SEEDS_PER_SET + n)
        stem = folder / phantom.label.value / f"phantom-{phantom.seed:010d}"
        paths.append(_write(phantom, stem, (seed, n // len(CLASSES))))
        if progress is not None:
            progress(len(paths))
    return paths


def write_unlabeled(folder: Path, *, count: int, seed: int) -> list[Path]:
    """Write ``count`` scans of mixed classes as ``FOLDER/scan-<seed>.{jpg,png,dcm}``. No name states the class.

    ``seed`` is the base seed. The scans share no phantom with any labeled set. ``unlabeled_class`` returns the class of
    a file. A ``count`` or ``seed`` out of range raises ``DatasetError``.
    """
    _check("count", count, seed, most=SEEDS_PER_SET // 2)
    first = seed * SEEDS_PER_SET + SEEDS_PER_SET // 2
    names = [f"scan-{first + i:010d}" for i in range(count)]
    return [_write(redraw(unlabeled_class(name), name), folder / name, (seed, i)) for i, name in enumerate(names)]


def unlabeled_class(name: str) -> TumorClass:
    """Return the class of a file that ``write_unlabeled`` wrote, such as ``scan-0001500000.jpg``."""
    return CLASSES[int(np.random.default_rng([_seed_of(name), _CLASS]).integers(len(CLASSES)))]


def _check(name: str, count: int, seed: int, *, most: int) -> None:
    """Raise ``DatasetError`` if the number of files or the base seed is out of range."""
    if not 1 <= count <= most or seed < 0:
        raise DatasetError(
            f"No such set of phantoms. Allowed: {name} from 1 to {most} and a base seed from 0 on. "
            f"Received: {name} {count}, base seed {seed}. Ask for at least one file."
        )


def _write(phantom: Phantom, stem: Path, place: tuple[int, int]) -> Path:
    """Write a phantom to ``stem`` with an extension. ``place`` is the base seed and the file's number in the set."""
    seed, number = place
    order = np.random.default_rng([seed, number // len(_EXTENSIONS), _ORDER]).permutation(len(_EXTENSIONS))
    extension = _EXTENSIONS[order[number % len(_EXTENSIONS)]]
    color = np.random.default_rng([seed, number, _ORDER]).random() < 0.5  # noqa: PLR2004
    path = stem.with_name(f"{stem.name}.{extension}")
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if extension == "dcm":
        _dicom(phantom).save_as(part, enforce_file_format=True)
    else:
        image = Image.fromarray(phantom.pixels).convert("RGB" if color else "L")
        image.save(part, "PNG" if extension == "png" else "JPEG", quality=92)
    return part.replace(path)


def _dicom(phantom: Phantom) -> pydicom.Dataset:
    """Return the phantom as a single-frame MR image in Explicit VR Little Endian, in a study of its own.

    The pixels have 12 stored bits of 16 allocated bits.
    """

    def uid(kind: str) -> str:
        return str(generate_uid(entropy_srcs=["braintumor phantom", kind, str(phantom.seed)]))

    scan = pydicom.Dataset()
    scan.file_meta = pydicom.dataset.FileMetaDataset()
    scan.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    scan.SOPClassUID, scan.SOPInstanceUID, scan.FrameOfReferenceUID = MRImageStorage, uid("instance"), uid("frame")
    scan.StudyInstanceUID, scan.SeriesInstanceUID = uid("study"), uid("series")
    scan.Modality, scan.Manufacturer, scan.ImageType = "MR", "braintumor phantom", ["DERIVED", "SECONDARY", "OTHER"]
    scan.PatientID, scan.PatientName = f"PHANTOM-{phantom.seed:010d}", "Phantom^Synthetic"
    scan.PatientBirthDate = scan.PatientSex = scan.StudyDate = scan.StudyTime = scan.StudyID = ""
    scan.AccessionNumber = scan.ReferringPhysicianName = scan.PositionReferenceIndicator = ""
    scan.SeriesDescription, scan.SeriesNumber, scan.InstanceNumber = "T1 post contrast, synthetic", 1, 1
    scan.ScanningSequence, scan.SequenceVariant, scan.ScanOptions = "SE", "NONE", ""
    scan.MRAcquisitionType, scan.EchoTime, scan.RepetitionTime, scan.EchoTrainLength = "2D", 10.0, 500.0, 1
    scan.PixelSpacing, scan.SliceThickness = [0.9, 0.9], 5.0
    scan.ImagePositionPatient, scan.ImageOrientationPatient = [0.0, 0.0, 0.0], [1, 0, 0, 0, 1, 0]
    scan.WindowCenter, scan.WindowWidth = _WINDOW
    scan.set_pixel_data(phantom.pixels.astype(np.uint16) * 16, "MONOCHROME2", 12, generate_instance_uid=False)
    return scan
