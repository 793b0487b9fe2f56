-- Condition on a row of prediction: a run with these parameters would write the same row for the same bytes.
prediction.model_version_id = :model and prediction.engine = :engine and prediction.preprocessing = :preprocessing
    and (select second_model_version_id from scoring_run where scoring_run_id = prediction.scoring_run_id)
        is not distinct from :second
