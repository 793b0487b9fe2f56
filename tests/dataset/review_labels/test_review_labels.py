"""Test that reviews of production frames become labels of the next snapshot, but never in the test split."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.dataset.frame_arrays import load_frames
from braintumor.dataset.review_labels import rules as label_rules
from braintumor.dataset.review_labels.labels import request_retrain, reviewed_labels, summarize_reviewed_labels
from braintumor.dataset.review_labels.rules import LabelRules
from braintumor.dataset.snapshot import Snapshot, load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.dataset.take_snapshot import snapshot_of
from braintumor.db import database
from braintumor.erasure import erase
from braintumor.errors import LabelRulesError
from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.imaging.phantom.volume import as_nifti, draw_volume
from braintumor.labels import TumorClass
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from devstack.stack import Stack
from tests.conftest import cloned, copied, printed
from tests.dicom_files import as_patient
from tests.images import png
from tests.reviews import add_reviews, retract_review
from tests.sql import change, rows

FRESH, ANN, ANN_TOO, TESTED, TRAINED, VOLUME = range(1, 7)
"""Scans of the run, by their keys."""


@pytest.fixture(scope="module")
def template(stack: Stack, seeded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Score a phantom, two of one patient, duplicates of a test and of a training image, and a volume."""
    with cloned(stack, "seeded") as url:
        settings = replace(seeded, database_url=url, scans_uri=f"s3://braintumor/reviewed-scans-{uuid.uuid4().hex}/")
        store, scans = ObjectStore.connect(settings), S3Uri.parse(settings.require("scans_uri"))
        results = [
            path
            for path in write_unlabeled(tmp_path_factory.mktemp("dicom"), count=40, seed=4)
            if path.suffix == ".dcm"
        ]
        files = [png(TumorClass.GLIOMA, seed=77_001), *(as_patient(path, "ANN") for path in results[:2])]
        for split in ("test", "train"):
            ((uri,),) = rows(
                settings, f"select image_uri from snapshot_image where split = '{split}' and label = 'glioma' limit 1"
            )
            files.append(store.read(S3Uri.parse(uri)))
        files.append(as_nifti(draw_volume(TumorClass.GLIOMA, seed=7, slices=10, size=64)))
        for number, data in enumerate(files):
            store.write(scans / f"{number}", data)
        run_scoring_job(settings, run_key="night")
        yield settings


@pytest.fixture
def scored(stack: Stack, template: Settings) -> Iterator[Settings]:
    with copied(stack, template) as settings:
        yield replace(settings, models_uri=f"s3://braintumor/models-{uuid.uuid4().hex}/")


def labels(scored: Settings, **changed: object) -> list[tuple[int, str, str, int]]:
    engine = database.connect(scored)
    rules = LabelRules.load().model_copy(update=changed)
    with database.transaction(engine) as connection:
        results = reviewed_labels(connection, rules)
    engine.dispose()
    return [(each.scan_id, each.label.value, each.source, each.count_reader) for each in results]


def reviewed_images(snapshot: Snapshot) -> list[tuple[str, Split]]:
    return [(image.label.value, image.split) for image in snapshot.images if image.attributes["source"] == "reviewed"]


class TestRule:
    def test_two_readers_one_senior_or_adjudication_give_a_label(self, scored: Settings) -> None:
        add_reviews(scored, FRESH, "glioma", "ann", "bob")
        add_reviews(scored, ANN, "normal", "sue")
        add_reviews(scored, TESTED, "glioma", "ann")
        add_reviews(scored, TESTED, "normal", "bob")
        assert labels(scored) == [(FRESH, "glioma", "readers", 2)]
        seniors = labels(scored, senior_readers=("sue",))
        assert seniors == [(FRESH, "glioma", "readers", 2), (ANN, "normal", "senior_reader", 1)]
        assert labels(scored, minimum_readers=3) == []
        add_reviews(scored, TESTED, "pituitary", "cid", purpose="adjudication")
        assert (TESTED, "pituitary", "adjudicated", 1) in labels(scored)

    def test_conflicting_reviews_give_no_label_and_are_on_worklist(self, scored: Settings) -> None:
        add_reviews(scored, FRESH, "glioma", "sue", "ann")
        add_reviews(scored, FRESH, "normal", "bob")
        assert labels(scored, senior_readers=("sue",)) == []
        assert rows(scored, "select risk from review_worklist where scan_id = :scan", scan=FRESH) == [
            ("reviewers_disagree",)
        ]
        assert summarize_reviewed_labels(scored).unlabeled == {"readers disagree": 1}

    def test_retracted_review_removes_its_label_or_conflict(self, scored: Settings) -> None:
        add_reviews(scored, FRESH, "glioma", "ann", "bob")
        add_reviews(scored, FRESH, "normal", "cid")
        retract_review(scored, FRESH, "cid")
        assert labels(scored) == [(FRESH, "glioma", "readers", 2)]
        retract_review(scored, FRESH, "bob")
        assert labels(scored) == []
        assert summarize_reviewed_labels(scored).unlabeled == {"too few readers": 1}

    @pytest.mark.parametrize("finding", ["other_finding", "unusable_image", "cannot_tell"])
    def test_review_without_class_gives_no_label(self, scored: Settings, finding: str) -> None:
        add_reviews(scored, FRESH, finding, "ann", "bob", "sue")
        assert labels(scored, senior_readers=("sue",)) == []

    def test_blind_only_rule_counts_blind_reviews_but_all_conflicts(self, scored: Settings) -> None:
        add_reviews(scored, FRESH, "glioma", "ann", blind=True)
        add_reviews(scored, FRESH, "glioma", "bob")
        assert labels(scored, blind_only=True) == []
        add_reviews(scored, FRESH, "glioma", "cid", blind=True)
        assert labels(scored, blind_only=True) == [(FRESH, "glioma", "readers", 2)]
        add_reviews(scored, FRESH, "normal", "dan")
        assert labels(scored, blind_only=True) == []

    def test_invalid_rule_file_is_named(self, tmp_path: Path) -> None:
        packaged = Path(label_rules.__file__).with_name("label_rules.toml").read_text()
        wrong = tmp_path / "rules.toml"
        for line, message in {
            "minimum_readers = 0": "minimum_readers must be a whole number",
            "senior_readers = 'sue'": "senior_readers must be a list of user names",
            "blind_only = 1": "blind_only must be true or false",
        }.items():
            key = line.partition(" ")[0]
            wrong.write_text("\n".join(line if row.startswith(key) else row for row in packaged.splitlines()))
            with pytest.raises(LabelRulesError, match=message):
                LabelRules.load(wrong)
        wrong.write_text(packaged.replace("retrain_after", "retrain_before"))
        with pytest.raises(LabelRulesError, match="retrain_before"):
            LabelRules.load(wrong)


class TestSnapshot:
    def test_reviewed_frames_are_in_train_and_test_is_unchanged(self, scored: Settings) -> None:
        before = snapshot_of(scored)
        add_reviews(scored, FRESH, "glioma", "ann", "bob")
        add_reviews(scored, ANN, "normal", "ann", "bob")
        add_reviews(scored, ANN_TOO, "normal", "ann", "bob")
        add_reviews(scored, VOLUME, "glioma", "ann", "bob")
        after = snapshot_of(scored)
        assert after.of_split(Split.TEST) == before.of_split(Split.TEST)
        assert after.of_split(Split.VALIDATION) == before.of_split(Split.VALIDATION)
        assert sorted(reviewed_images(after)) == [("glioma", Split.TRAIN)] * 2 + [("normal", Split.TRAIN)] * 2
        assert after.excluded == before.excluded == ()
        provenance = """
            select scan_id, frame_index, label::text, label_source::text, count_reader, rules_version, reason
            from snapshot_review where snapshot_id = :id order by scan_id"""
        (fresh, ann, _, volume) = rows(scored, provenance, id=after.snapshot_id)
        assert fresh == (FRESH, 0, "glioma", "readers", 2, 1, None) and ann[:3] == (ANN, 0, "normal")
        assert volume[0] == VOLUME
        grouped = {image.image_sha256: image.group_key for image in after.images}
        results = rows(scored, "select image_sha256 from reviewed_frame where scan_id in (2, 3)")
        assert len({grouped[digest] for (digest,) in results}) == 1, "frames of one patient are one group"
        store = ObjectStore.connect(scored)
        assert len(load_frames(store, after, Split.TRAIN, size=64).images) == len(after.of_split(Split.TRAIN))
        assert snapshot_of(scored) == after == load_snapshot(database.connect(scored), after.snapshot_id)

    def test_frame_in_test_group_is_excluded_by_name(self, scored: Settings) -> None:
        before = snapshot_of(scored)
        add_reviews(scored, TESTED, "glioma", "ann", "bob")
        add_reviews(scored, FRESH, "glioma", "ann", "bob")
        change(scored, f"update scan set study_pseudonym = 'one' where scan_id in ({TESTED}, {FRESH})")
        after = snapshot_of(scored)
        assert after.snapshot_id == before.snapshot_id
        named = {item.image_uri: item.reason for item in after.excluded}
        reason = "reviewed frame whose group has an image in test"
        assert named == {f"scan {TESTED}, frame 0": reason, f"scan {FRESH}, frame 0": reason}
        assert summarize_reviewed_labels(scored).excluded == [(name, reason) for name in sorted(named)]

    def test_test_images_of_other_snapshots_are_not_trained_on(self, scored: Settings) -> None:
        add_reviews(scored, TESTED, "glioma", "ann", "bob")
        store, other = ObjectStore.connect(scored), S3Uri.parse(f"s3://braintumor/other-{uuid.uuid4().hex}/")
        ((digest,),) = rows(scored, "select content_sha256 from scan where scan_id = :scan", scan=TESTED)
        for digest_of, uri in rows(scored, "select image_sha256, image_uri from snapshot_image"):
            if digest_of != digest:
                store.write(other / uri.rpartition("/dataset/")[2], store.read(S3Uri.parse(uri)))
        change(scored, "update split_assignment set pixel_sha256 = 'of an old decoder ' || pixel_sha256")
        snapshot = snapshot_of(scored, str(other))
        assert [item.image_uri for item in snapshot.excluded] == [f"scan {TESTED}, frame 0"]
        assert reviewed_images(snapshot) == []

    def test_contradicting_review_excludes_both_images(self, scored: Settings) -> None:
        before = snapshot_of(scored)
        add_reviews(scored, TRAINED, "normal", "ann", "bob")
        after = snapshot_of(scored)
        reason = "identical images are labeled glioma and normal"
        assert {item.reason for item in after.excluded} == {reason} and len(after.excluded) == 2
        assert f"scan {TRAINED}, frame 0" in {item.image_uri for item in after.excluded}
        assert len(after.images) == len(before.images) - 1

    def test_agreeing_review_of_known_image_is_a_duplicate(self, scored: Settings) -> None:
        before = snapshot_of(scored)
        add_reviews(scored, TRAINED, "glioma", "ann", "bob")
        after = snapshot_of(scored)
        assert (after.snapshot_id, after.count_copy) == (before.snapshot_id, before.count_copy + 1)

    def test_review_of_listed_image_is_no_label_either(self, scored: Settings, tmp_path: Path) -> None:
        before = snapshot_of(scored)
        add_reviews(scored, TRAINED, "glioma", "ann", "bob")
        ((key,),) = rows(scored, "select key from scan_location where scan_id = :id", id=TRAINED)
        data = ObjectStore.connect(scored).read(S3Uri.parse(scored.require("scans_uri")) / key.rpartition("/")[2])
        listed = sha256(data).hexdigest()
        (tmp_path / "list.csv").write_text(f"sha256,reason,author\n{listed},artifact,Dr. Roe\n")
        after = snapshot_of(scored, exclusion_list=tmp_path / "list.csv")
        assert {i.image_sha256 for i in after.images} == {i.image_sha256 for i in before.images} - {listed}
        assert f"scan {TRAINED}, frame 0" in {item.image_uri for item in after.excluded}
        assert {item.reason for item in after.excluded} == {"on the exclusion list: artifact"}
        recorded = rows(scored, "select reason from snapshot_review where snapshot_id = :id", id=after.snapshot_id)
        assert recorded == [("on the exclusion list: artifact",)]

    def test_changed_object_is_excluded_unless_its_image_is_stored(self, scored: Settings) -> None:
        store = ObjectStore.connect(scored)
        where = {
            scan_id: (S3Uri(bucket=bucket, key=key), store.read(S3Uri(bucket=bucket, key=key)))
            for scan_id, bucket, key in rows(scored, "select scan_id, bucket, key from scan_location")
        }
        for scan_id in (FRESH, ANN):
            add_reviews(scored, scan_id, "glioma", "ann", "bob")
        try:
            store.write(where[FRESH][0], png(seed=5))
            store.delete([where[ANN][0]])
            excluded = {item.image_uri: item.reason for item in snapshot_of(scored).excluded}
            assert excluded == {
                f"scan {FRESH}, frame 0": "the object was overwritten meanwhile",
                f"scan {ANN}, frame 0": "the object is gone",
            }
            store.write(*where[FRESH])
            assert len(reviewed_images(snapshot_of(scored))) == 1
            store.delete([where[FRESH][0]])
            assert len(reviewed_images(snapshot_of(scored))) == 1
        finally:
            for scan_id in (FRESH, ANN):
                store.write(*where[scan_id])

    def test_retracted_review_removes_frame_from_next_snapshot(self, scored: Settings) -> None:
        before = snapshot_of(scored)
        add_reviews(scored, FRESH, "glioma", "ann", "bob")
        assert snapshot_of(scored).snapshot_id != before.snapshot_id
        retract_review(scored, FRESH, "bob")
        assert snapshot_of(scored).snapshot_id == before.snapshot_id

    def test_trainer_role_can_take_snapshot(self, stack: Stack, scored: Settings) -> None:
        add_reviews(scored, FRESH, "glioma", "ann", "bob")
        name = str(database.connect(scored).url.database)
        trainer = replace(scored, database_url=stack.postgres.url_as(Role.TRAINER, name))
        assert len(reviewed_images(snapshot_of(trainer))) == 1


def test_erasure_deletes_reviewed_frames_of_person(stack: Stack, scored: Settings) -> None:
    for scan_id in (FRESH, ANN, ANN_TOO):
        add_reviews(scored, scan_id, "normal", "ann", "bob")
    store, models = ObjectStore.connect(scored), S3Uri.parse(scored.require("models_uri"))
    snapshot = snapshot_of(scored)
    assert len(list(store.list(models / "reviewed/"))) == 3
    named = '[{"image_uri": "scan 2, frame 0", "reason": "x", "image_sha256": ""}]'
    change(scored, "update snapshot set left_out = cast(:items as jsonb)", items=named)
    ((ann,),) = rows(scored, "select patient_pseudonym from scan where scan_id = :scan", scan=ANN)
    name = str(database.connect(scored).url.database)
    own = replace(scored, dataset_uri=f"s3://braintumor/none-{uuid.uuid4().hex}/")
    eraser = replace(own, database_url=stack.postgres.url_as(Role.ERASER, name))
    done = erase(eraser, ann, actor="dpo", reason="asked")
    assert (done.counts["reviewed_frame"], done.counts["snapshot_review"], done.counts["snapshot_image"]) == (2, 2, 2)
    assert done.snapshot_ids == (snapshot.snapshot_id,)
    assert len(list(store.list(models / "reviewed/"))) == 1
    assert not any("/reviewed/" in uri for uri in done.object_uris), "these are ours, and are deleted without asking"
    assert rows(scored, "select scan_id from reviewed_frame") == rows(scored, "select scan_id from snapshot_review")
    assert rows(scored, "select count(*) from snapshot where left_out <> '[]'") == [(0,)]


def test_new_labels_request_one_retrain(scored: Settings, tmp_path: Path) -> None:
    packaged = Path(label_rules.__file__).with_name("label_rules.toml").read_text()
    rules = tmp_path / "rules.toml"
    rules.write_text(packaged.replace("retrain_after = 100", "retrain_after = 2"))
    scored = replace(scored, label_rules=str(rules))
    add_reviews(scored, FRESH, "glioma", "ann", "bob")
    assert request_retrain(scored, request_key="monday") == 0
    add_reviews(scored, ANN, "normal", "ann", "bob")
    assert summarize_reviewed_labels(scored).count_new == 2
    assert request_retrain(scored, request_key="tuesday") == 2
    assert request_retrain(scored, request_key="tuesday") == 2, "a retry gets the same result"
    add_reviews(scored, ANN, "normal", "cid")
    add_reviews(scored, FRESH, "glioma", "cid")
    assert request_retrain(scored, request_key="wednesday") == 0, (
        "the retrain may not have begun, the labels are the same"
    )
    add_reviews(scored, ANN_TOO, "normal", "ann", "bob")
    add_reviews(scored, TRAINED, "normal", "ann", "bob")
    snapshot_of(scored)
    assert request_retrain(scored, request_key="thursday") == 0, "the snapshot used or excluded them"
    add_reviews(scored, TRAINED, "normal", "cid")
    assert summarize_reviewed_labels(scored).count_new == 0, "another review with the same label gives no new label"


def test_command_shows_labels_of_present_reviews(scored: Settings) -> None:
    add_reviews(scored, FRESH, "glioma", "ann", "bob")
    add_reviews(scored, ANN, "normal", "ann")
    output = printed(scored, "dataset", "reviewed")
    assert "glioma" in output and "no label: 1 frames: too few readers" in output and "1 labels are new" in output
