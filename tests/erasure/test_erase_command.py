"""Test the command `braintumor subject` and the objects that an erasure keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.dataset.labeled_files import LabeledFiles, read_labeled_files
from braintumor.db import database
from braintumor.erasure import erased_objects
from braintumor.errors import ErasureError
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from devstack.stack import Stack
from tests.conftest import as_role, invoke, printed
from tests.erasure.erased_files import as_eraser
from tests.sql import change, rows


@pytest.mark.parametrize("with_objects", [False, True])
def test_erase_command_confirms_and_prints_addresses(stack: Stack, scored: Settings, with_objects: bool) -> None:
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    eraser = as_role(stack, scored, Role.ERASER)
    arguments = ["subject", "erase", ann, *(["--objects"] if with_objects else [])]
    refused = invoke(eraser, *arguments, answer="n\n")
    assert refused.exit_code == 1 and "It cannot be undone" in refused.output
    assert rows(scored, "select count(*) from scan") == [(3,)]
    done = invoke(eraser, *arguments, answer="y\n")
    assert done.exit_code == 0 and "2 scan" in done.output and "erasure 1: " in done.output
    verb = (
        "deleted, except its versions and copies"
        if with_objects
        else "still there, delete it, with its versions and copies"
    )
    lines = done.output.splitlines()
    assert [f"{verb}: {scored.require('scans_uri')}ann-{number}.dcm" in lines for number in (1, 2)] == [True, True]
    kept = ObjectStore.connect(scored).list(S3Uri.parse(scored.require("scans_uri")))
    left = {entry.key.rpartition("/")[2] for entry in kept}
    assert left == ({"ben.dcm"} if with_objects else {"ann-1.dcm", "ann-2.dcm", "ben.dcm"})


def test_erase_command_names_prefixes_it_could_not_list(stack: Stack, scored: Settings) -> None:
    lost = "s3://a-deleted-bucket/ward-a/"
    change(scored, "update snapshot set source_uri = :lost", lost=lost)
    eraser = as_role(stack, scored, Role.ERASER)
    unknown = invoke(eraser, "subject", "erase", "0" * 32, "--yes")
    assert unknown.exit_code == 1 and "1 prefixes or labeled files could not be read" in unknown.stderr
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    done = invoke(eraser, "subject", "erase", ann, "--yes", "--json")
    assert "run the command again" in done.stderr and f"not read: {lost}" in done.stderr
    assert json.loads(done.stdout)["unread_uris"] == [lost]


def test_subject_find_prints_pseudonym_without_patient_number(stack: Stack, scored: Settings) -> None:
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    scorer = as_role(stack, scored, Role.SCORER)
    done = invoke(scorer, "subject", "find", answer="ANN\n")
    assert done.output == f"{ann}: 2 scans\n"
    done = invoke(scorer, "subject", "find", "--json", answer="no such patient")
    assert json.loads(done.stdout)["count_scan"] == 0
    done = invoke(scorer, "subject", "find", answer="")
    assert done.exit_code == 1 and done.stderr.startswith("braintumor: ")


def test_subject_find_warns_about_scans_of_several_sites(stack: Stack, scored: Settings) -> None:
    with database.transaction(database.connect(scored)) as connection:
        connection.execute(text("update scan set site_pseudonym = md5(scan_id::text) where scan_id < 3"))
    scorer = as_role(stack, scored, Role.SCORER)
    done = invoke(scorer, "subject", "find", answer="ANN\n")
    assert "2 scans" in done.stdout and "from 2 sites" in done.stderr
    done = invoke(scorer, "subject", "find", "--json", answer="ANN\n")
    assert json.loads(done.stdout)["count_site"] == 2 and "from 2 sites" in done.stderr


def test_erase_with_yes_and_json_prints_json(stack: Stack, scored: Settings) -> None:
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    command = ("subject", "erase", ann, "--yes", "--json", "--reason", "a letter")
    made = json.loads(printed(as_role(stack, scored, Role.ERASER), *command))
    assert (made["counts"]["scan"], made["are_objects_deleted"], len(made["object_uris"])) == (2, False, 3)
    assert rows(scored, "select reason from erasure") == [("a letter",)]


def test_addresses_are_kept_until_objects_are_deleted(stack: Stack, scored: Settings, files: list[bytes]) -> None:
    store, scans = ObjectStore.connect(scored), S3Uri.parse(scored.require("scans_uri"))
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    eraser = as_role(stack, scored, Role.ERASER)
    first = as_eraser(stack, scored, ann, with_objects=False)
    assert len(first.object_uris) == 3 and not first.are_objects_deleted
    assert erased_objects(eraser).left == first.object_uris
    store.delete([scans / "ann-1.dcm"])  # as an operator would
    store.write(scans / "ann-2.dcm", files[3])  # another person's file
    left = json.loads(printed(eraser, "subject", "objects", "--json"))
    assert left == {"left": [scored.require("dataset_uri") + "glioma/ann-1.dcm"], "count_gone": 2}
    output = invoke(eraser, "subject", "objects", "--delete", answer="y\n")
    assert "0 objects are still there, 1 are gone" in output.output
    assert store.read(scans / "ann-2.dcm") == files[3], "it was overwritten, so it is not the erased person's"
    assert rows(scored, "select * from erasure_object") == []


@pytest.mark.parametrize("with_objects", [True, False])
def test_object_overwritten_before_the_erasure_is_kept(
    stack: Stack, scored: Settings, files: list[bytes], with_objects: bool
) -> None:
    store, scans = ObjectStore.connect(scored), S3Uri.parse(scored.require("scans_uri"))
    labeled = S3Uri.parse(scored.require("dataset_uri")) / "glioma/ann-1.dcm"
    for overwritten in (scans / "ann-2.dcm", labeled):
        store.write(overwritten, files[3])  # another person's file
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    made = as_eraser(stack, scored, ann, with_objects=with_objects)
    assert made.object_uris == (str(scans / "ann-1.dcm"),)
    printed(as_role(stack, scored, Role.ERASER), "subject", "objects", "--delete", "--yes")
    assert list(store.list(scans / "ann-1.dcm")) == []
    assert [store.read(uri) for uri in (scans / "ann-2.dcm", labeled)] == [files[3]] * 2


def test_second_erasure_finds_objects_kept_by_the_first(stack: Stack, scored: Settings, files: list[bytes]) -> None:
    store = ObjectStore.connect(scored)
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    first = as_eraser(stack, scored, ann, with_objects=False)
    run_scoring_job(scored, run_key="next")
    assert rows(scored, "select reason, count(*) from rejection group by 1") == [("subject_erased", 2)]
    labeled = S3Uri.parse(scored.require("dataset_uri")) / "glioma/ann-1.dcm"
    store.write(labeled, files[3])  # another person's file
    second = as_eraser(stack, scored, ann)
    assert second.object_uris == first.object_uris[1:] and second.are_objects_deleted
    assert [entry.key for uri in second.object_uris for entry in store.list(S3Uri.parse(uri))] == []
    assert store.read(labeled) == files[3]
    assert rows(scored, "select * from erasure_object") == []
    assert rows(scored, "select scan_id from scan_location") == [(3,)], "the rejected scans' addresses went too"
    with pytest.raises(ErasureError, match="No data is stored"):
        as_eraser(stack, scored, ann)


def test_second_person_at_the_same_address_is_deleted_too(stack: Stack, scored: Settings, files: list[bytes]) -> None:
    store, labeled = ObjectStore.connect(scored), S3Uri.parse(scored.require("dataset_uri")) / "glioma/ann-1.dcm"
    ((ann,), (ben,)) = rows(scored, "select patient_pseudonym from scan where scan_id in (1, 3) order by scan_id")
    as_eraser(stack, scored, ann, with_objects=False)
    store.write(labeled, files[3])  # Ben's file
    kept = as_eraser(stack, scored, ben, with_objects=False)
    assert str(labeled) in kept.object_uris and str(labeled) in erased_objects(as_role(stack, scored, Role.ERASER)).left
    as_eraser(stack, scored, ben)
    assert list(store.list(labeled)) == []


def test_labeled_file_overwritten_during_the_erasure_is_kept(
    stack: Stack, scored: Settings, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, labeled = ObjectStore.connect(scored), S3Uri.parse(scored.require("dataset_uri")) / "glioma/ann-1.dcm"
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")

    def read_then_overwrite(*args: Any, **values: Any) -> LabeledFiles:
        read = read_labeled_files(*args, **values)
        store.write(labeled, files[3])  # another person's file
        return read

    monkeypatch.setattr("braintumor.erasure.read_labeled_files", read_then_overwrite)
    assert str(labeled) not in as_eraser(stack, scored, ann).object_uris
    assert store.read(labeled) == files[3]
