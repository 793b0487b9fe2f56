"""Test the results of the data quality checks on folders of images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
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
from tests.conftest import invoke, printed, run_braintumor
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


def result_of(quality: Quality, code: str) -> QualityCheckResult:
    (result,) = [item for item in quality.results if item.code == code]
    return result


def photographs(folder: Path, name: str, count: int, *, is_gray: bool) -> None:
    for number, part in enumerate(crops(name, count, is_gray=is_gray)):
        Image.fromarray(part).save(folder / f"{number}.png")


def test_ten_phantoms_per_class_pass(folder: Path) -> None:
    quality = judged(folder)
    assert quality.blocking == []
    assert result_of(quality, "not_mri").count == 0 and result_of(quality, "unreadable").count == 0
    assert quality.review.skipped == ""


@pytest.mark.parametrize("is_gray", [False, True], ids=["color", "gray"])
@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_class_folder_of_photographs_is_refused_with_remedy(folder: Path, name: str, is_gray: bool) -> None:
    shutil.rmtree(folder / "normal")
    (folder / "normal").mkdir()
    photographs(folder / "normal", name, 40, is_gray=is_gray)
    (result,) = [item for item in judged(folder).blocking if item.code == "not_mri"]
    assert "images of normal do not look like MRI" in result.reason and "glioma" not in result.reason
    assert "Remove images that are not MRI from normal" in result.reason
    assert result.count > 30 and all(len(example) == 12 for example in result.examples)


def test_one_photograph_among_ten_slices_passes_and_is_shown(folder: Path) -> None:
    next((folder / "glioma").iterdir()).unlink()
    photographs(folder / "glioma", "china.jpg", 1, is_gray=False)
    quality = judged(folder)
    assert quality.blocking == [] and result_of(quality, "not_mri").count == 1
    assert "glioma: in color" in page(quality)


def test_unreadable_files_are_counted_and_many_refuse_the_data(folder: Path) -> None:
    (folder / "glioma" / "1.png").write_bytes(b"words")
    assert not result_of(judged(folder), "unreadable").is_beyond
    for number in range(2):
        (folder / "normal" / f"empty-{number}.png").touch()
    result = result_of(judged(folder), "unreadable")
    assert result.is_blocking and len(result.examples) == 2, "the empty ones have one sha256"
    assert result.reason.startswith("3 of 43 (6.98%) files in class folders cannot be read (empty_file: 2, unsup")


def test_files_outside_class_folders_are_counted(folder: Path) -> None:
    (folder / "cats").mkdir()
    (folder / "cats" / "tom.png").write_bytes(b"x")
    (folder / "readme.txt").write_text("no image")
    quality = judged(folder)
    assert result_of(quality, "outside").is_beyond and result_of(quality, "outside").count == 2
    assert quality.blocking == [] and result_of(quality, "unreadable").count == 0


def test_duplicates_are_counted_without_refusal(folder: Path) -> None:
    first = next((folder / "glioma").iterdir())
    for number in range(3):
        shutil.copy(first, folder / "glioma" / f"copy-{number}{first.suffix}")
    quality = judged(folder)
    assert result_of(quality, "copies").count == 3 and quality.warnings and not quality.blocking


def test_contradicting_labels_of_near_images_refuse_the_data(folder: Path) -> None:
    one, other = sorted(path for path in (folder / "glioma").iterdir() if path.suffix != ".dcm")[:2]
    shutil.copy(one, folder / "normal" / f"one{one.suffix}")
    with Image.open(other) as image:
        paler = ImageEnhance.Contrast(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).enhance(0.9)
        paler.save(folder / "pituitary" / "other.png")
    result = result_of(judged(folder), "contradictions")
    assert result.is_blocking and result.count == 4
    assert "glioma and normal: 2, glioma and pituitary: 2" in result.reason


def test_small_class_gives_warning(folder: Path) -> None:
    for path in sorted((folder / "pituitary").iterdir())[1:]:
        path.unlink()
    result = result_of(judged(folder), "imbalance")
    assert result.is_beyond and "the smallest class, pituitary, has 1 images" in result.reason


def test_rule_file_makes_check_stricter_or_turns_it_off(folder: Path) -> None:
    shutil.copy(next((folder / "glioma").glob("*.jpg")), folder / "glioma" / "copy.jpg")
    strict = RULES.model_copy(update={"copies": QualityCheck(level=Level.BLOCKING, bound=0.0)})
    assert [item.code for item in judged(folder, strict).blocking] == ["copies"]
    off = RULES.model_copy(
        update={
            "copies": QualityCheck(level=Level.OFF, bound=0.0),
            "label_errors": QualityCheck(level=Level.OFF, bound=0.0),
        }
    )
    quality = judged(folder, off)
    assert not result_of(quality, "copies").is_beyond and quality.review.candidates == ()
    assert "the check is off" in result_of(quality, "label_errors").reason


def test_no_images_give_a_result(tmp_path: Path) -> None:
    quality = judged(tmp_path)
    assert [item.code for item in quality.blocking] == ["missing_class"]
    assert result_of(quality, "label_errors").reason.startswith("not searched")
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

    def test_packaged_rules_refuse_class_with_tenth_not_mri(self) -> None:
        assert QualityCheck(level=Level.BLOCKING, bound=0.10) == RULES.not_mri
        assert RULES.label_errors.level is Level.WARNING

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"cats": 1}, "unknown key 'cats'"),
            ({"version": 0}, r"version must be a whole number, 1 or more. Received: 0"),
            ({"version": True}, "version must be a whole number"),
            ({"copies": 0.5}, r"copies must be a table with level, bound. Received: 0.5. Write \[copies\]"),
            ({"copies": {"level": "loud", "bound": 0.5}}, "copies.level must be one of blocking, warning, off"),
            ({"copies": {"level": "off", "bound": 10}}, "copies.bound must be a number from 0 to 1. Received: 10"),
            ({"copies": {"level": "off", "bound": float("nan")}}, "copies.bound must be a number from 0 to 1"),
            ({"copies": {"level": "off"}}, "copies: missing key 'bound'"),
            ({"copies": {"level": "off", "bound": 0, "x": 1}}, "copies: unknown key 'x'"),
        ],
    )
    def test_invalid_value_is_named(self, change: dict[str, object], words: str) -> None:
        with pytest.raises(QualityRulesError, match=words):
            QualityRules.from_values({**self.VALUES, **change})

    def test_missing_check_is_named(self) -> None:
        values = {key: value for key, value in self.VALUES.items() if key != "not_mri"}
        with pytest.raises(QualityRulesError, match="missing key 'not_mri'"):
            QualityRules.from_values(values)

    def test_invalid_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(QualityRulesError, match=r"none\.toml cannot be read.*BRAINTUMOR_QUALITY_RULES"):
            QualityRules.load(tmp_path / "none.toml")
        (tmp_path / "bad.toml").write_text("version = = 1")
        with pytest.raises(QualityRulesError, match="is not TOML"):
            QualityRules.load(tmp_path / "bad.toml")


def page(quality: Quality) -> str:
    return quality_report(quality, source="folder set")


class TestReport:
    def test_report_is_self_contained_with_verdict_and_claims(self, folder: Path) -> None:
        text = page(judged(folder))
        assert "http" not in text and "<script" not in text and "url(" not in text
        assert text.index("Accepted") < text.index("Images of each class") < text.index("Samples")
        assert "Patient independence cannot be verified: only" in text, "some phantoms are DICOM"
        assert text.count("data:image/png;base64,") >= 40
        assert "The splits of a first snapshot." in text

    def test_report_shows_no_file_name(self, folder: Path) -> None:
        for path in sorted((folder / "glioma").iterdir())[:3]:
            path.rename(path.with_name(f"Jane_Doe_{path.name}"))
        (folder / "glioma" / "Jane_Doe.png").write_bytes(b"words")
        assert "Jane" not in page(judged(folder)) and "phantom-" not in page(judged(folder))

    def test_report_claims_patient_split_only_if_all_are_identified(self, folder: Path) -> None:
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
    def test_report_has_verdict_and_results(self, folder: Path, is_refused: bool) -> None:
        if is_refused:
            photographs(folder / "normal", "china.jpg", 10, is_gray=False)
        text = page(judged(folder))
        assert ("No snapshot is taken and nothing is trained on this data" in text) is is_refused
        assert ("Remove images that are not MRI from normal" in text) is is_refused


class TestCommand:
    def test_valid_folder_passes_offline_with_report(
        self, folder: Path, tmp_path: Path, run: Callable[..., str]
    ) -> None:
        report = tmp_path / "quality.html"
        output = json.loads(run(str(folder), "--report", str(report), "--json"))
        assert output["is_accepted"] and output["images"] == dict.fromkeys(output["images"], 10)
        assert "folder set" in report.read_text() and str(tmp_path) not in report.read_text()

    @pytest.fixture
    def run(self) -> Callable[..., str]:
        return lambda *arguments: printed(Settings(), "dataset", "validate", *arguments)

    def test_refused_folder_exits_with_one_and_remedy(self, folder: Path) -> None:
        photographs(folder / "normal", "flower.jpg", 10, is_gray=False)
        done = run_braintumor(Settings(), "dataset", "validate", str(folder), check=False)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "Refused: not_mri" in done.stdout
        assert "Remove images that are not MRI from normal" in done.stderr and "--report FILE" in done.stderr

    def test_excluded_files_are_listed_with_reason(self, folder: Path, tmp_path: Path) -> None:
        (folder / "glioma" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        (folder / "loose.png").write_bytes(b"")
        copied, doubtful, *_ = sorted((folder / "normal").iterdir())
        shutil.copy(copied, folder / "pituitary" / "copied.png")
        digest = sha256(doubtful.read_bytes()).hexdigest()
        (tmp_path / "list.csv").write_text(f"sha256,reason,author\n{digest},artifact,Dr. Roe\n")
        arguments = ("dataset", "validate", str(folder), "--exclude", str(tmp_path / "list.csv"))
        said = invoke(Settings(), *arguments).stderr
        assert "excluded: glioma/damaged.png: truncated: " in said
        assert "excluded: loose.png: not in a class folder" in said
        for name in ("pituitary/copied.png", f"normal/{copied.name}"):
            assert f"excluded: {name}: identical images are labeled normal and pituitary" in said
        assert f"excluded: normal/{doubtful.name}: on the exclusion list: artifact" in said
        values = json.loads(invoke(Settings(), *arguments, "--json").stdout)
        assert digest in {item["image_sha256"] for item in values["excluded"]} and len(values["excluded"]) == 5

    def test_own_rule_file_is_used(self, folder: Path, tmp_path: Path) -> None:
        done = invoke(Settings(quality_rules=str(tmp_path / "none.toml")), "dataset", "validate", str(folder))
        assert done.exit_code == 1 and "none.toml cannot be read" in done.stderr

    def test_missing_folder_is_named(self) -> None:
        done = invoke(Settings(), "dataset", "check", "/nowhere")
        assert done.exit_code == 1 and "/nowhere is not a folder" in done.stderr
