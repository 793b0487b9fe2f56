"""The phantoms are deterministic, honest (no brightness, no watermark), and readable by the field's tools."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from braintumor.errors import DatasetError
from braintumor.imaging.phantom.slice import draw, redraw, unlabeled_class, write_dataset, write_unlabeled
from braintumor.labels import CLASSES, TUMORS, TumorClass


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_dataset(tmp_path_factory.mktemp("set"), per_class=20, seed=3)


@pytest.mark.parametrize("label", CLASSES)
def test_the_same_seed_draws_the_same_phantom(label: TumorClass) -> None:
    first, second = draw(label, seed=5), draw(label, seed=5)
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.mask, second.mask)
    assert first.pixels.dtype == np.uint8
    assert not np.array_equal(first.pixels[:200, :200], draw(label, seed=6).pixels[:200, :200])


@pytest.mark.parametrize("label", TUMORS)
@pytest.mark.parametrize("seed", [0, 1, 2, 77, 1_000_003])
def test_a_tumor_and_its_normal_twin_differ_only_inside_the_mask(label: TumorClass, seed: int) -> None:
    tumor, twin = draw(label, seed=seed), draw(TumorClass.NORMAL, seed=seed)
    assert not twin.mask.any()
    assert np.array_equal(tumor.pixels[~tumor.mask], twin.pixels[~tumor.mask])
    assert (tumor.pixels != twin.pixels)[tumor.mask].mean() > 0.5
    assert 0.005 < tumor.mask.mean() < 0.4


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    side = max(pixels.shape)
    square = Image.new("L", (side, side))
    square.paste(Image.fromarray(pixels), ((side - pixels.shape[1]) // 2, (side - pixels.shape[0]) // 2))
    return np.asarray(square.resize((8, 8), Image.Resampling.BILINEAR), float).ravel()


@pytest.mark.soak
def test_a_class_is_not_a_brightness() -> None:
    each = 150
    thumbnails = [_thumbnail(draw(c, seed=len(CLASSES) * i + c.position).pixels) for i in range(each) for c in CLASSES]
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    accuracy = cross_val_score(probe, np.array(thumbnails), list(range(4)) * each, cv=5).mean()
    assert accuracy < 0.60


def test_canvases_have_odd_sizes_that_do_not_depend_on_the_class() -> None:
    shapes = [draw(TumorClass.NORMAL, seed=s).pixels.shape for s in range(12)]
    assert len(set(shapes)) > 4
    assert [draw(TumorClass.GLIOMA, seed=s).pixels.shape for s in range(12)] == shapes


def test_a_data_set_has_a_folder_for_each_class_and_mixed_formats_in_each(written: list[Path]) -> None:
    assert all(path.is_file() for path in written)
    assert Counter(path.parent.name for path in written) == {c.value: 20 for c in CLASSES}
    assert len({path.name for path in written}) == len(written)
    formats = {c: [p.suffix for p in written if p.parent.name == c] for c in CLASSES}
    assert all(formats[c] == formats[CLASSES[0]] for c in CLASSES)
    assert Counter(formats[CLASSES[0]]) == {".dcm": 1, ".png": 6, ".jpg": 13}


def _mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def _gray(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def test_color_modes_are_mixed_alike_in_every_class(written: list[Path]) -> None:
    pictures = [p for p in written if p.suffix != ".dcm"]
    modes = {c: [_mode(p) for p in pictures if p.parent.name == c] for c in CLASSES}
    assert set(modes[CLASSES[0]]) == {"L", "RGB"}
    assert all(modes[c] == modes[CLASSES[0]] for c in CLASSES)


def test_writing_again_gives_the_same_bytes_and_leaves_no_temporary_file(written: list[Path], tmp_path: Path) -> None:
    seen: list[int] = []
    again = write_dataset(tmp_path, per_class=20, seed=3, progress=seen.append)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in written]
    assert seen == list(range(1, 81))
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(again)


def test_other_base_seeds_share_no_phantom(written: list[Path], tmp_path: Path) -> None:
    others = write_dataset(tmp_path, per_class=2, seed=4) + write_unlabeled(tmp_path, count=4, seed=3)
    seeds = {p.stem.split("-")[1] for p in written}
    assert seeds.isdisjoint(p.stem.split("-")[1] for p in others)


def test_dicom_phantoms_are_valid_mr_with_the_pixels_of_the_phantom(written: list[Path]) -> None:
    scans = [(p, pydicom.dcmread(p)) for p in written if p.suffix == ".dcm"]
    assert len({s.StudyInstanceUID for _, s in scans}) == len(scans) == 4
    for path, scan in scans:
        assert (scan.Modality, scan.PhotometricInterpretation) == ("MR", "MONOCHROME2")
        assert scan.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        low = float(scan.WindowCenter) - 0.5 - (float(scan.WindowWidth) - 1) / 2
        gray = (scan.pixel_array - low) / (float(scan.WindowWidth) - 1) * 255
        expected = redraw(TumorClass(path.parent.name), path.name).pixels
        assert np.array_equal(np.rint(gray), expected)


def test_a_file_name_is_enough_to_draw_the_mask_again(written: list[Path]) -> None:
    path = next(p for p in written if p.suffix == ".png" and p.parent.name == "glioma")
    again = redraw(TumorClass.GLIOMA, f"labeled/glioma/{path.name}")
    assert np.array_equal(_gray(path), again.pixels)
    assert again.mask.any()


def test_a_name_without_a_seed_is_refused() -> None:
    with pytest.raises(DatasetError, match="not the name of a phantom"):
        redraw(TumorClass.GLIOMA, "brain.png")


def test_a_night_has_mixed_classes_and_formats_under_names_that_do_not_tell(tmp_path: Path) -> None:
    paths = write_unlabeled(tmp_path, count=24, seed=1)
    assert {p.parent for p in paths} == {tmp_path}
    assert all(p.name.startswith("scan-") for p in paths)
    assert {p.suffix for p in paths} == {".jpg", ".png", ".dcm"}
    assert {unlabeled_class(p.name) for p in paths} == set(CLASSES)
    path = next(p for p in paths if p.suffix == ".png")
    assert np.array_equal(_gray(path), redraw(unlabeled_class(path.name), path.name).pixels)


@pytest.mark.parametrize(("per_class", "seed", "match"), [(0, 1, "per_class"), (1, -1, "base seed")])
def test_an_impossible_data_set_is_refused(tmp_path: Path, per_class: int, seed: int, match: str) -> None:
    with pytest.raises(DatasetError, match=match):
        write_dataset(tmp_path, per_class=per_class, seed=seed)


def test_an_empty_night_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="count"):
        write_unlabeled(tmp_path, count=0, seed=1)
