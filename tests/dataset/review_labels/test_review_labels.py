"""What people say of production frames becomes labels of the next snapshot, by the rule and never in test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.dataset.frame_arrays import load_frames
from braintumor.dataset.review_labels import rules as label_rules
from braintumor.dataset.review_labels.labels import outlook, request_retrain, reviewed_labels
from braintumor.dataset.review_labels.rules import LabelRules
from braintumor.dataset.snapshot import Snapshot, load_snapshot, snapshot_of
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.erasure import erase
from braintumor.errors import LabelRulesError
from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.imaging.phantom.volume import as_nifti, draw_volume
from braintumor.labels import TumorClass
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from devstack.stack import Stack
from tests.conftest import cloned, copied, run_braintumor
from tests.images import png
from tests.people import as_patient, say, take_back
from tests.sql import change, rows

FRESH, ANN, ANN_TOO, TESTED, TRAINED, VOLUME = range(1, 7)
"""Scans of the night, in the order of their keys."""


@pytest.fixture(scope="module")
def template(stack: Stack, seeded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A night: a phantom, two of one patient, a copy of a test and one of a training image, and a volume."""
    with cloned(stack, "seeded") as url:
        settings = replace(seeded, database_url=url, scans_uri=f"s3://braintumor/reviewed-scans-{uuid.uuid4().hex}/")
        store, scans = ObjectStore.connect(settings), S3Uri.parse(settings.require("scans_uri"))
        found = [
            path
            for path in write_unlabeled(tmp_path_factory.mktemp("dicom"), count=80, seed=4)
            if path.suffix == ".dcm"
        ]
        files = [png(TumorClass.GLIOMA, seed=77_001), *(as_patient(path, "ANN") for path in found[:2])]
        for split in ("test", "train"):
            ((uri,),) = rows(
                settings,
                f"select image_uri from snapshot_image where split = '{split}' and label = 'glioma' limit 1",
            )
            files.append(store.read(S3Uri.parse(uri)))
        files.append(as_nifti(draw_volume(TumorClass.GLIOMA, seed=7, slices=10, size=64)))
        for number, data in enumerate(files):
            store.write(scans / f"{number}", data)
        run_scoring_job(settings, run_key="night")
        yield settings


@pytest.fixture
def night(stack: Stack, template: Settings) -> Iterator[Settings]:
    with copied(stack, template) as settings:
        yield replace(settings, models_uri=f"s3://braintumor/models-{uuid.uuid4().hex}/")


def labels(night: Settings, **changed: object) -> list[tuple[int, str, str, int]]:
    engine = database.connect(night)
    rules = replace(LabelRules.load(), **changed)  # type: ignore[arg-type]
    with database.transaction(engine) as connection:
        found = reviewed_labels(connection, rules)
    engine.dispose()
    return [(each.scan_id, each.label.value, each.source, each.count_reader) for each in found]


def reviewed_images(snapshot: Snapshot) -> list[tuple[str, Split]]:
    return [(image.label.value, image.split) for image in snapshot.images if image.attributes["source"] == "reviewed"]


class TestRule:
    def test_two_agreeing_readers_one_senior_or_an_adjudication_make_a_label(self, night: Settings) -> None:
        say(night, FRESH, "glioma", "ann", "bob")
        say(night, ANN, "normal", "sue")
        say(night, TESTED, "glioma", "ann")
        say(night, TESTED, "normal", "bob")
        assert labels(night) == [(FRESH, "glioma", "readers", 2)]
        seniors = labels(night, senior_readers=("sue",))
        assert seniors == [(FRESH, "glioma", "readers", 2), (ANN, "normal", "senior_reader", 1)]
        assert labels(night, minimum_readers=3) == []
        say(night, TESTED, "pituitary", "cid", purpose="adjudication")
        assert (TESTED, "pituitary", "adjudicated", 1) in labels(night)

    def test_a_conflict_makes_no_label_whoever_answered_and_is_on_the_worklist(self, night: Settings) -> None:
        say(night, FRESH, "glioma", "sue", "ann")
        say(night, FRESH, "normal", "bob")
        assert labels(night, senior_readers=("sue",)) == []
        assert rows(night, "select risk from review_worklist where scan_id = :scan", scan=FRESH) == [
            ("reviewers_disagree",)
        ]
        assert outlook(night).without == {"readers disagree": 1}

    def test_an_answer_that_is_taken_back_takes_its_label_or_its_conflict_along(self, night: Settings) -> None:
        say(night, FRESH, "glioma", "ann", "bob")
        say(night, FRESH, "normal", "cid")
        take_back(night, FRESH, "cid")
        assert labels(night) == [(FRESH, "glioma", "readers", 2)]
        take_back(night, FRESH, "bob")
        assert labels(night) == []
        assert outlook(night).without == {"too few readers": 1}

    @pytest.mark.parametrize("finding", ["other_finding", "unusable_image", "cannot_tell"])
    def test_what_names_no_class_makes_no_label(self, night: Settings, finding: str) -> None:
        say(night, FRESH, finding, "ann", "bob", "sue")
        assert labels(night, senior_readers=("sue",)) == []

    def test_only_blind_answers_count_where_the_rule_says_so_and_any_can_disagree(self, night: Settings) -> None:
        say(night, FRESH, "glioma", "ann", blind=True)
        say(night, FRESH, "glioma", "bob")
        assert labels(night, blind_only=True) == []
        say(night, FRESH, "glioma", "cid", blind=True)
        assert labels(night, blind_only=True) == [(FRESH, "glioma", "readers", 2)]
        say(night, FRESH, "normal", "dan")
        assert labels(night, blind_only=True) == []

    def test_a_rule_file_that_is_wrong_is_named(self, tmp_path: Path) -> None:
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
    def test_reviewed_frames_train_and_leave_the_test_split_as_it_was(self, night: Settings) -> None:
        before = snapshot_of(night)
        say(night, FRESH, "glioma", "ann", "bob")
        say(night, ANN, "normal", "ann", "bob")
        say(night, ANN_TOO, "normal", "ann", "bob")
        say(night, VOLUME, "glioma", "ann", "bob")
        after = snapshot_of(night)
        assert after.of_split(Split.TEST) == before.of_split(Split.TEST)
        assert after.of_split(Split.VALIDATION) == before.of_split(Split.VALIDATION)
        assert sorted(reviewed_images(after)) == [("glioma", Split.TRAIN)] * 2 + [("normal", Split.TRAIN)] * 2
        assert after.left_out == before.left_out == ()
        provenance = """
            select scan_id, frame_index, label::text, label_source::text, count_reader, rules_version, reason
            from snapshot_review where snapshot_id = :id order by scan_id"""
        (fresh, ann, _, volume) = rows(night, provenance, id=after.snapshot_id)
        assert fresh == (FRESH, 0, "glioma", "readers", 2, 1, None) and ann[:3] == (ANN, 0, "normal")
        assert volume[0] == VOLUME
        grouped = {image.image_sha256: image.group_key for image in after.images}
        found = rows(night, "select image_sha256 from reviewed_frame where scan_id in (2, 3)")
        assert len({grouped[digest] for (digest,) in found}) == 1, "frames of one patient are one group"
        store = ObjectStore.connect(night)
        assert len(load_frames(store, after, Split.TRAIN, size=64).images) == len(after.of_split(Split.TRAIN))
        assert snapshot_of(night) == after == load_snapshot(database.connect(night), after.snapshot_id)

    def test_a_frame_whose_group_is_in_test_is_left_out_and_named(self, night: Settings) -> None:
        before = snapshot_of(night)
        say(night, TESTED, "glioma", "ann", "bob")
        say(night, FRESH, "glioma", "ann", "bob")
        change(night, f"update scan set study_pseudonym = 'one' where scan_id in ({TESTED}, {FRESH})")
        after = snapshot_of(night)
        assert after.snapshot_id == before.snapshot_id
        named = {item.image_uri: item.reason for item in after.left_out}
        reason = "reviewed frame whose group has an image in test"
        assert named == {f"scan {TESTED}, frame 0": reason, f"scan {FRESH}, frame 0": reason}
        assert outlook(night).left_out == [(name, reason) for name in sorted(named)]

    def test_test_images_of_other_snapshots_are_no_training_images_either(self, night: Settings) -> None:
        say(night, TESTED, "glioma", "ann", "bob")
        store, other = ObjectStore.connect(night), S3Uri.parse(f"s3://braintumor/other-{uuid.uuid4().hex}/")
        ((digest,),) = rows(night, "select content_sha256 from scan where scan_id = :scan", scan=TESTED)
        for digest_of, uri in rows(night, "select image_sha256, image_uri from snapshot_image"):
            if digest_of != digest:
                store.write(other / uri.rpartition("/dataset/")[2], store.read(S3Uri.parse(uri)))
        change(night, "update split_assignment set pixel_sha256 = 'of an old decoder ' || pixel_sha256")
        snapshot = snapshot_of(night, str(other))
        assert [item.image_uri for item in snapshot.left_out] == [f"scan {TESTED}, frame 0"]
        assert reviewed_images(snapshot) == []

    def test_another_label_for_the_same_picture_leaves_both_out(self, night: Settings) -> None:
        before = snapshot_of(night)
        say(night, TRAINED, "normal", "ann", "bob")
        after = snapshot_of(night)
        reason = "identical images are labeled glioma and normal"
        assert {item.reason for item in after.left_out} == {reason} and len(after.left_out) == 2
        assert f"scan {TRAINED}, frame 0" in {item.image_uri for item in after.left_out}
        assert len(after.images) == len(before.images) - 1

    def test_the_same_label_for_the_same_picture_is_one_more_copy(self, night: Settings) -> None:
        before = snapshot_of(night)
        say(night, TRAINED, "glioma", "ann", "bob")
        after = snapshot_of(night)
        assert (after.snapshot_id, after.count_copy) == (before.snapshot_id, before.count_copy + 1)

    def test_an_object_that_changed_or_is_gone_is_left_out_and_named_but_not_once_it_was_kept(
        self, night: Settings
    ) -> None:
        store = ObjectStore.connect(night)
        where = {
            scan_id: (S3Uri(bucket=bucket, key=key), store.read(S3Uri(bucket=bucket, key=key)))
            for scan_id, bucket, key in rows(night, "select scan_id, bucket, key from scan_location")
        }
        for scan_id in (FRESH, ANN):
            say(night, scan_id, "glioma", "ann", "bob")
        try:
            store.write(where[FRESH][0], png(seed=5))
            store.delete([where[ANN][0]])
            left_out = {item.image_uri: item.reason for item in snapshot_of(night).left_out}
            assert left_out == {
                f"scan {FRESH}, frame 0": "the object was overwritten meanwhile",
                f"scan {ANN}, frame 0": "the object is gone",
            }
            store.write(*where[FRESH])
            assert len(reviewed_images(snapshot_of(night))) == 1
            store.delete([where[FRESH][0]])
            assert len(reviewed_images(snapshot_of(night))) == 1
        finally:
            for scan_id in (FRESH, ANN):
                store.write(*where[scan_id])

    def test_a_frame_leaves_the_next_snapshot_with_its_label(self, night: Settings) -> None:
        before = snapshot_of(night)
        say(night, FRESH, "glioma", "ann", "bob")
        assert snapshot_of(night).snapshot_id != before.snapshot_id
        take_back(night, FRESH, "bob")
        assert snapshot_of(night).snapshot_id == before.snapshot_id

    def test_the_trainers_login_is_enough(self, stack: Stack, night: Settings) -> None:
        say(night, FRESH, "glioma", "ann", "bob")
        name = str(database.connect(night).url.database)
        trainer = replace(night, database_url=stack.postgres.url_as(Role.TRAINER, name))
        assert len(reviewed_images(snapshot_of(trainer))) == 1


def test_an_erased_persons_pictures_and_rows_go(stack: Stack, night: Settings) -> None:
    for scan_id in (FRESH, ANN, ANN_TOO):
        say(night, scan_id, "normal", "ann", "bob")
    store, models = ObjectStore.connect(night), S3Uri.parse(night.require("models_uri"))
    snapshot = snapshot_of(night)
    assert len(list(store.list(models / "reviewed/"))) == 3
    named = '[{"image_uri": "scan 2, frame 0", "reason": "x", "image_sha256": ""}]'
    change(night, "update snapshot set left_out = cast(:items as jsonb)", items=named)
    ((ann,),) = rows(night, "select patient_pseudonym from scan where scan_id = :scan", scan=ANN)
    name = str(database.connect(night).url.database)
    own = replace(night, dataset_uri=f"s3://braintumor/none-{uuid.uuid4().hex}/")
    eraser = replace(own, database_url=stack.postgres.url_as(Role.ERASER, name))
    done = erase(eraser, ann, actor="dpo", reason="asked")
    assert (done.counts["reviewed_frame"], done.counts["snapshot_review"], done.counts["snapshot_image"]) == (2, 2, 2)
    assert done.snapshot_ids == (snapshot.snapshot_id,)
    assert len(list(store.list(models / "reviewed/"))) == 1
    assert not any("/reviewed/" in uri for uri in done.object_uris), "these are ours, and are deleted without asking"
    assert rows(night, "select scan_id from reviewed_frame") == rows(night, "select scan_id from snapshot_review")
    assert rows(night, "select count(*) from snapshot where left_out <> '[]'") == [(0,)]


def test_new_labels_ask_once_for_a_retrain(night: Settings, tmp_path: Path) -> None:
    packaged = Path(label_rules.__file__).with_name("label_rules.toml").read_text()
    rules = tmp_path / "rules.toml"
    rules.write_text(packaged.replace("retrain_after = 100", "retrain_after = 2"))
    night = replace(night, label_rules=str(rules))
    say(night, FRESH, "glioma", "ann", "bob")
    assert request_retrain(night, request_key="monday") == 0
    say(night, ANN, "normal", "ann", "bob")
    assert outlook(night).count_new == 2
    assert request_retrain(night, request_key="tuesday") == 2
    assert request_retrain(night, request_key="tuesday") == 2, "a retry gets the same answer"
    say(night, ANN, "normal", "cid")
    say(night, FRESH, "glioma", "cid")
    assert request_retrain(night, request_key="wednesday") == 0, (
        "the retrain may not have begun, the labels are the same"
    )
    say(night, ANN_TOO, "normal", "ann", "bob")
    say(night, TRAINED, "normal", "ann", "bob")
    snapshot_of(night)
    assert request_retrain(night, request_key="thursday") == 0, "the weekly one took them, or left them out"
    say(night, TRAINED, "normal", "cid")
    assert outlook(night).count_new == 0, "one more voice for the same label is no new label"


def test_the_command_says_what_would_become_labels(night: Settings) -> None:
    say(night, FRESH, "glioma", "ann", "bob")
    say(night, ANN, "normal", "ann")
    told = run_braintumor(night, "dataset", "show-reviewed-labels").stdout
    assert "glioma" in told and "no label: 1 frames: too few readers" in told and "1 labels are new" in told
