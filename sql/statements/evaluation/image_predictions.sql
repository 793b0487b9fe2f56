-- The predictions of a model for the images of a split.
select
    image_sha256,
    label::text as label,
    predicted_class::text as predicted,
    probability_glioma,
    probability_meningioma,
    probability_normal,
    probability_pituitary,
    group_key,
    has_patient
from evaluated_image
where model_version_id = :model and snapshot_id = :snapshot and split = cast(:split as split)
