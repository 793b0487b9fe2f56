"""Load training histories, evaluations and predictions as pandas DataFrames for notebooks.

>>> engine = database.connect(Settings.from_environment())
>>> test_predictions(engine, "resnet50-20261123T030000Z-3f2a9c").query("label != predicted_class")

``dataset.snapshot.load_snapshot(engine, snapshot_id).to_frame()`` returns a snapshot as a DataFrame.
"""

from __future__ import annotations

import pandas as pd
from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.registry.model_versions import find_model, training_of


def training_history(engine: Engine, model_name: str) -> pd.DataFrame:
    """Return a DataFrame with the columns ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy``, by epoch from 1."""
    frame = pd.DataFrame(training_of(engine, find_model(engine, model_name)).history)
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="epoch")
    return frame


def evaluations(engine: Engine) -> pd.DataFrame:
    """Return the metrics of all evaluations, with one row per model, snapshot and split, newest first.

    The column ``count_access`` has the number of times that the model was evaluated on the split.
    """
    query = """
        select model_name, recipe_name, initialization, evaluation.*,
            (select count(*) from test_set_access where test_set_access.evaluation_id = evaluation.evaluation_id)
                as count_access
        from evaluation
        join model_version using (model_version_id)
        join training_run using (training_run_id)
        order by evaluated_at desc"""
    with transaction(engine) as connection:
        return pd.read_sql(text(query), connection)


def test_predictions(engine: Engine, model_name: str) -> pd.DataFrame:
    """Return label, predicted class, four probabilities and attributes of each test image, one row per image.

    The images are those of the snapshot that the model was trained on.
    """
    model = find_model(engine, model_name)
    query = """
        select test_prediction.*, snapshot_image.group_key, snapshot_image.attributes
        from test_prediction
        join evaluation using (evaluation_id)
        join snapshot_image using (snapshot_id, image_sha256)
        where evaluation.model_version_id = :model and snapshot_id = :snapshot and evaluation.split = 'test'
        order by image_sha256"""
    bound = text(query).bindparams(model=model.model_version_id, snapshot=model.snapshot_id)
    with transaction(engine) as connection:
        frame = pd.read_sql(bound, connection)
    attributes = pd.DataFrame(list(frame.pop("attributes")), index=frame.index)
    return frame.drop(columns="evaluation_id").join(attributes)
