-- Model versions with their status. `rest` has the condition and the order.
select
    model_version.model_version_id,
    model_version.model_name,
    model_version.backbone,
    training_run.recipe_name,
    training_run.recipe_override,
    training_run.initialization,
    training_run.snapshot_id,
    model_version.image_size,
    model_version.preprocessing,
    model_version.precision,
    model_version.artifact_uri,
    model_version.artifact_sha256s,
    model_version.created_at,
    model_status.is_champion,
    model_status.has_been_champion,
    model_status.is_override,
    model_status.withdrawn_at,
    model_status.pruned_at,
    model_version.prediction_sets
from model_version
join training_run using (training_run_id)
join model_status using (model_version_id)
{{ rest }}
