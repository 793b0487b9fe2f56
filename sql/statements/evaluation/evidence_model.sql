-- What a model predicts with: network, input, calibration and prediction sets, and the model that it was exported or
-- recalibrated from. The facts are the columns of the row, without numbers of rows and the address of the files.
select
    model_version.created_at,
    parent.model_name as made_from,
    to_jsonb(model_version)
        - '{model_version_id, training_run_id, parent_model_version_id, artifact_uri, artifact_sha256s, created_at}'::text[]
        as facts
from model_version
left join model_version as parent on parent.model_version_id = model_version.parent_model_version_id
where model_version.model_version_id = :model
