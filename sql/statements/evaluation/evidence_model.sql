-- What a model predicts with: network, input, calibration, review thresholds, and the model that it was exported from.
select
    model_version.model_name as name,
    model_version.created_at,
    model_version.backbone,
    model_version.precision,
    parent.model_name as exported_from,
    model_version.image_size,
    model_version.preprocessing,
    model_version.count_parameter,
    model_version.temperature,
    model_version.low_confidence_below,
    model_version.near_tie_below,
    model_version.out_of_distribution_above
from model_version
left join model_version as parent on parent.model_version_id = model_version.parent_model_version_id
where model_version.model_version_id = :model
