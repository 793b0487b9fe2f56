"""Register the tests' model again under other names."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.registry import model_versions, promotions
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.artifact import GRAPH, MANIFEST, REFERENCE
from tests.sql import change, rows

RUN = "manual__run"


def add_model(
    settings: Settings, name: str, *, days_old: int = 0, own_files: bool = False, own_graph: bool = False
) -> ModelVersion:
    """Register a model as if a run of recipe ``name`` had trained it ``days_old`` days ago.

    It shares the files of the tests' model (117 MB). With ``own_files`` it gets a copy, which a test may delete.
    With ``own_graph`` it gets a copy, and the file of the graph has another sha256.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    seed = model_versions.find_model(engine, "1")
    folder, sha256s = S3Uri.parse(seed.artifact_uri), dict(seed.artifact_sha256s)
    if own_files or own_graph:
        folder = S3Uri.parse(f"s3://braintumor/models-{uuid.uuid4().hex}/{name}/")
        for file in seed.artifact_sha256s:
            store.write(folder / file, store.read(S3Uri.parse(seed.artifact_uri) / file))
    if own_graph:
        sha256s |= _mark_graph(store, folder, name)
    record_model(settings, name, run_key=RUN, folder=folder, sha256s=sha256s, days_old=days_old)
    found = model_versions.find_model(engine, name)
    engine.dispose()
    return found


def _mark_graph(store: ObjectStore, folder: S3Uri, name: str) -> dict[str, str]:
    """Add a comment to the graph, which changes no prediction, and return the new sha256s of graph and manifest."""
    files = {GRAPH: store.read(folder / GRAPH) + graph_comment(name)}
    manifest = json.loads(store.read(folder / MANIFEST))
    manifest["sha256s"][GRAPH] = sha256(files[GRAPH]).hexdigest()
    files[MANIFEST] = json.dumps(manifest).encode()
    for file, data in files.items():
        store.write(folder / file, data)
    return {file: sha256(data).hexdigest() for file, data in files.items()}


def graph_comment(name: str) -> bytes:
    """Return a comment for the end of a graph's file."""
    return f"<!-- {name} -->\n".encode()


def record_model(
    settings: Settings, name: str, *, run_key: str, folder: S3Uri, sha256s: Mapping[str, str], days_old: int = 0
) -> None:
    """Insert the rows of a training of recipe ``name``, with the other values of the tests' model."""
    change(
        settings, _INSERT, name=name, run=run_key, folder=str(folder), sha256s=json.dumps(dict(sha256s)), days=days_old
    )


_INSERT = """
    with trained as (
        insert into training_run (run_key, recipe_name, recipe, snapshot_id, initialization, history, code_version,
                                  library_versions, device, seconds)
        select :run, :name, recipe, snapshot_id, initialization, history, code_version, library_versions, device,
               seconds
        from training_run where run_key = 'seed'
        returning training_run_id
    )
    insert into model_version (model_name, training_run_id, backbone, precision, image_size, preprocessing,
        count_parameter, artifact_uri, artifact_sha256s, temperature, prediction_sets, created_at)
    select :name, trained.training_run_id, backbone, precision, image_size, preprocessing, count_parameter,
           :folder, cast(:sha256s as jsonb), temperature, prediction_sets, now() - make_interval(days => :days)
    from model_version, trained where model_version_id = 1"""


def copy_evaluations(settings: Settings, name: str) -> None:
    """Store the evaluations of the tests' model for a model with the same graph, without plots and report."""
    tables = (
        "evaluation", "evaluation_class", "confusion_cell", "test_prediction", "test_set_access",
        "evaluation_occlusion", "evaluation_slice",
    )  # fmt: skip
    change(settings, ";".join(_COPY.format(table=table) for table in tables), name=name)


_COPY = """
    insert into {table} overriding system value
    select changed.*
    from evaluation
    join {table} as stored using (evaluation_id)
    join model_version as model on model_name = :name
    cross join jsonb_populate_record(stored, jsonb_build_object(
        'evaluation_id', 1000 * model.model_version_id + evaluation_id,
        'model_version_id', model.model_version_id)) as changed
    where evaluation.model_version_id = 1"""
"""The statement that copies the rows of a table. It changes both numbers, if the table has them."""


def promote(settings: Settings, *names: str) -> None:
    """Make each model champion in turn, by an override."""
    engine = database.connect(settings)
    for name in names:
        model = model_versions.find_model(engine, name)
        key = f"{name} {uuid.uuid4().hex}"
        promotions.promote(
            engine,
            model,
            promotions.PromotionRequest(request_key=key, actor="tests", reason=f"{name} it is"),
            is_override=True,
        )
    engine.dispose()


def pass_gate(settings: Settings, name: str, *, days_ago: int = 0, run_key: str = RUN) -> int:
    """Insert a verdict that passes the model against the current champion, and return its number."""
    ((number,),) = rows(
        settings,
        """
        insert into gate_verdict (run_key, model_version_id, champion_model_version_id, is_passed, rules, summary,
                                  judged_at)
        select :run, model_version_id, (select model_version_id from champion), true,
               '{"passed": true, "rules_version": 1, "rules": [], "summary": "Passed"}', 'Passed',
               now() - make_interval(days => :days)
        from model_version where model_name = :name
        returning gate_verdict_id""",
        name=name,
        run=run_key,
        days=days_ago,
    )
    return int(number)


def champions(settings: Settings) -> Sequence[str]:
    """Return the model names of all rows of the view ``champion``: one or none."""
    return [name for (name,) in rows(settings, "select model_name from champion")]


def remove_reference(folder: Path) -> None:
    """Remove the reference embeddings and prediction sets from a model folder. Older versions did not write them."""
    (folder / REFERENCE).unlink()
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["out_of_distribution_above"], manifest["sha256s"][REFERENCE], manifest["prediction_sets"]
    (folder / MANIFEST).write_text(json.dumps({**manifest, "low_confidence_below": 0.6, "near_tie_below": 0.1}))
