"""What the data quality gate finds in folders of images, and what it lets pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

from braintumor.config.settings import Settings
from braintumor.dataset.images.local_folder import read_folder
from braintumor.dataset.quality.checks import Quality, QualityCheckResult, assess
from braintumor.dataset.quality.report import quality_report
from braintumor.dataset.quality.rules import Level, QualityCheck, QualityRules
from braintumor.errors import QualityRulesError
from braintumor.imaging.phantom.slice import draw, write_dataset
from braintumor.labels import CLASSES
from tests.conftest import run_braintumor
from tests.dicom_files import mr_of
from tests.photographs import crops

RULES = QualityRules.load()


@pytest.fixture(scope="module")
def ten_each(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ten each")
    write_dataset(folder, per_class=10, seed=2)
    return folder


@pytest.fixture
def folder(ten_each: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ten_each, tmp_path / "set"))


def judged(folder: Path, rules: QualityRules = RULES) -> Quality:
    return assess(*read_folder(folder), rules)


def finding(quality: Quality, code: str) -> QualityCheckResult:
    (found,) = [item for item in quality.findings if item.code == code]
    return found


def photographs(folder: Path, name: str, count: int, *, is_gray: bool) -> None:
    for number, part in enumerate(crops(name, count, is_gray=is_gray)):
        Image.fromarray(part).save(folder / f"{number}.png")


def test_phantoms_pass_also_as_few_as_ten_a_class(folder: Path) -> None:
    quality = judged(folder)
    assert quality.blocking == []
    assert finding(quality, "not_mri").count == 0 and finding(quality, "unreadable").count == 0
    assert quality.review.skipped == ""


@pytest.mark.parametrize("is_gray", [False, True], ids=["color", "gray"])
@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_a_class_folder_of_photographs_is_refused_with_its_name_and_a_remedy(
    folder: Path, name: str, is_gray: bool
) -> None:
    shutil.rmtree(folder / "normal")
    (folder / "normal").mkdir()
    photographs(folder / "normal", name, 40, is_gray=is_gray)
    (found,) = [item for item in judged(folder).blocking if item.code == "not_mri"]
    assert "images of normal do not look like MRI" in found.reason and "glioma" not in found.reason
    assert "Take out of normal what is not MRI" in found.reason
    assert found.count > 30 and all(len(example) == 12 for example in found.examples)


def test_one_photograph_among_ten_slices_passes_and_is_shown(folder: Path) -> None:
    next((folder / "glioma").iterdir()).unlink()
    photographs(folder / "glioma", "china.jpg", 1, is_gray=False)
    quality = judged(folder)
    assert quality.blocking == [] and finding(quality, "not_mri").count == 1
    assert "glioma: in color" in page(quality)


def test_unreadable_files_are_counted_by_reason_and_many_refuse_the_data(folder: Path) -> None:
    (folder / "glioma" / "1.png").write_bytes(b"words")
    assert not finding(judged(folder), "unreadable").is_beyond
    for number in range(2):
        (folder / "normal" / f"empty-{number}.png").touch()
    found = finding(judged(folder), "unreadable")
    assert found.is_blocking and len(found.examples) == 2, "the empty ones have one sha256"
    assert found.reason.startswith("3 of 43 (6.98%) files in class folders cannot be read (empty_file: 2, unsup")


def test_files_outside_class_folders_are_counted(folder: Path) -> None:
    (folder / "cats").mkdir()
    (folder / "cats" / "tom.png").write_bytes(b"x")
    (folder / "readme.txt").write_text("no image")
    quality = judged(folder)
    assert finding(quality, "outside").is_beyond and finding(quality, "outside").count == 2
    assert quality.blocking == [] and finding(quality, "unreadable").count == 0


def test_copies_are_counted_and_refuse_nothing(folder: Path) -> None:
    first = next((folder / "glioma").iterdir())
    for number in range(3):
        shutil.copy(first, folder / "glioma" / f"copy-{number}{first.suffix}")
    quality = judged(folder)
    assert finding(quality, "copies").count == 3 and quality.warnings and not quality.blocking


def test_identical_and_near_identical_images_with_other_labels_refuse_the_data(folder: Path) -> None:
    one, other = sorted(path for path in (folder / "glioma").iterdir() if path.suffix != ".dcm")[:2]
    shutil.copy(one, folder / "normal" / f"one{one.suffix}")
    with Image.open(other) as picture:
        paler = ImageEnhance.Contrast(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).enhance(0.9)
        paler.save(folder / "pituitary" / "other.png")
    found = finding(judged(folder), "contradictions")
    assert found.is_blocking and found.count == 4
    assert "glioma and normal: 2, glioma and pituitary: 2" in found.reason


def test_a_small_class_is_warned_of(folder: Path) -> None:
    for path in sorted((folder / "pituitary").iterdir())[1:]:
        path.unlink()
    found = finding(judged(folder), "imbalance")
    assert found.is_beyond and "the smallest class, pituitary, has 1 images" in found.reason


def test_a_rule_file_makes_a_check_stricter_or_silences_it(folder: Path) -> None:
    shutil.copy(next((folder / "glioma").glob("*.jpg")), folder / "glioma" / "copy.jpg")
    strict = replace(RULES, copies=QualityCheck(level=Level.BLOCKING, bound=0.0))
    assert [item.code for item in judged(folder, strict).blocking] == ["copies"]
    off = replace(
        RULES, copies=QualityCheck(level=Level.OFF, bound=0.0), label_errors=QualityCheck(level=Level.OFF, bound=0.0)
    )
    quality = judged(folder, off)
    assert not finding(quality, "copies").is_beyond and quality.review.candidates == ()
    assert "the check is off" in finding(quality, "label_errors").reason


def test_no_images_at_all_are_no_crash(tmp_path: Path) -> None:
    quality = judged(tmp_path)
    assert [item.code for item in quality.blocking] == ["missing_class"]
    assert finding(quality, "label_errors").reason.startswith("not looked for")
    assert "Data quality" in page(quality)


class TestRules:
    VALUES = {  # noqa: RUF012
        "version": 2,
        "maximum_images_label_errors": 10,
        **{
            name: {"level": "warning", "bound": 0.5}
            for name in ("unreadable", "outside", "copies", "contradictions", "imbalance", "not_mri", "label_errors")
        },
    }

    def test_the_packaged_rules_refuse_a_class_that_is_a_tenth_no_mri(self) -> None:
        assert QualityCheck(level=Level.BLOCKING, bound=0.10) == RULES.not_mri
        assert RULES.label_errors.level is Level.WARNING

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"cats": 1}, "unknown key 'cats'"),
            ({"version": 0}, r"version must be a whole number, 1 or more. Received: 0"),
            ({"version": True}, "version must be a whole number"),
            ({"copies": 0.5}, r"copies must be a table with level and bound. Received: 0.5. Write \[copies\]"),
            ({"copies": {"level": "loud", "bound": 0.5}}, "copies.level must be one of blocking, warning, off"),
            ({"copies": {"level": "off", "bound": 10}}, "copies.bound must be a number from 0 to 1. Received: 10"),
            ({"copies": {"level": "off", "bound": float("nan")}}, "copies.bound must be a number from 0 to 1"),
            ({"copies": {"level": "off"}}, "copies: missing key 'bound'"),
            ({"copies": {"level": "off", "bound": 0, "x": 1}}, "copies: unknown key 'x'"),
        ],
    )
    def test_a_wrong_value_is_named(self, change: dict[str, object], words: str) -> None:
        with pytest.raises(QualityRulesError, match=words):
            QualityRules.from_values({**self.VALUES, **change})

    def test_a_missing_check_is_named(self) -> None:
        values = {key: value for key, value in self.VALUES.items() if key != "not_mri"}
        with pytest.raises(QualityRulesError, match="missing key 'not_mri'"):
            QualityRules.from_values(values)

    def test_a_file_that_is_none_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(QualityRulesError, match=r"none\.toml cannot be read.*BRAINTUMOR_QUALITY_RULES"):
            QualityRules.load(tmp_path / "none.toml")
        (tmp_path / "bad.toml").write_text("version = = 1")
        with pytest.raises(QualityRulesError, match="is not TOML"):
            QualityRules.load(tmp_path / "bad.toml")


def page(quality: Quality) -> str:
    return quality_report(quality, source="folder set", created="today")


class TestReport:
    def test_it_stands_alone_and_shows_verdict_counts_samples_and_what_cannot_be_claimed(self, folder: Path) -> None:
        text = page(judged(folder))
        assert "http" not in text and "<script" not in text and "url(" not in text
        assert text.index("Accepted") < text.index("Images of each class") < text.index("Samples")
        assert "Patient independence cannot be verified: only" in text, "some phantoms are DICOM"
        assert text.count("data:image/png;base64,") >= 40
        assert "As a first snapshot would split them" in text

    def test_it_shows_no_file_name(self, folder: Path) -> None:
        for path in sorted((folder / "glioma").iterdir())[:3]:
            path.rename(path.with_name(f"Jane_Doe_{path.name}"))
        (folder / "glioma" / "Jane_Doe.png").write_bytes(b"words")
        assert "Jane" not in page(judged(folder)) and "phantom-" not in page(judged(folder))

    def test_it_claims_patients_only_where_every_image_names_one(self, folder: Path) -> None:
        for path in folder.rglob("*.*"):
            if path.suffix == ".dcm":
                path.unlink()
        assert "the images carry no patient identifiers" in page(judged(folder))
        for path in folder.rglob("*.*"):
            if path.suffix != ".dcm":
                path.unlink()
        for label in CLASSES:
            for number in range(10):
                tags = {"PatientID": f"PAT-{label}-{number}", "StudyInstanceUID": f"1.2.{label.position}.{number}"}
                pixels = draw(label, seed=number + 1000 * label.position, size=96).pixels
                (folder / label / f"{number}.dcm").write_bytes(mr_of(pixels, **tags))
        assert "all 40 images carry a patient identifier" in page(judged(folder))

    @pytest.mark.parametrize("is_refused", [True, False])
    def test_the_verdict_is_said_with_the_findings(self, folder: Path, is_refused: bool) -> None:
        if is_refused:
            photographs(folder / "normal", "china.jpg", 10, is_gray=False)
        text = page(judged(folder))
        assert ("No snapshot is taken and nothing is trained on this data" in text) is is_refused
        assert ("Take out of normal what is not MRI" in text) is is_refused


class TestCommand:
    def test_a_good_folder_passes_without_servers_and_a_report_is_written(
        self, folder: Path, tmp_path: Path, run: Callable[..., str]
    ) -> None:
        report = tmp_path / "quality.html"
        answer = json.loads(run(str(folder), "--report", str(report), "--json"))
        assert answer["is_accepted"] and answer["images"] == dict.fromkeys(answer["images"], 10)
        assert "folder set" in report.read_text() and str(tmp_path) not in report.read_text()

    @pytest.fixture
    def run(self) -> Callable[..., str]:
        return lambda *arguments: run_braintumor(Settings(), "dataset", "validate", *arguments).stdout

    def test_a_refused_folder_is_exit_code_one_with_class_and_remedy(self, folder: Path) -> None:
        photographs(folder / "normal", "flower.jpg", 10, is_gray=False)
        done = run_braintumor(Settings(), "dataset", "validate", str(folder), check=False)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "Refused: not_mri" in done.stdout
        assert "Take out of normal what is not MRI" in done.stderr and "--report FILE" in done.stderr

    def test_rules_of_ones_own_are_taken(self, folder: Path, tmp_path: Path) -> None:
        done = run_braintumor(
            Settings(quality_rules=str(tmp_path / "none.toml")), "dataset", "validate", str(folder), check=False
        )
        assert done.returncode == 1 and "none.toml cannot be read" in done.stderr

    def test_a_folder_that_is_not_there_is_named(self) -> None:
        done = run_braintumor(Settings(), "dataset", "validate", "/nowhere", check=False)
        assert done.returncode == 1 and "/nowhere is not a folder" in done.stderr
