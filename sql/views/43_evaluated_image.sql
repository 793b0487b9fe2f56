-- evaluated_image: one row per evaluation and image: label, prediction and group of related images.
-- Example: how many groups are in the test split of a model? count(distinct group_key)
-- An image that is no longer in the snapshot is a group of its own.
create view evaluated_image as
select
    test_prediction.evaluation_id,
    evaluation.model_version_id,
    evaluation.snapshot_id,
    evaluation.split,
    test_prediction.image_sha256,
    test_prediction.label,
    test_prediction.predicted_class,
    test_prediction.probability_glioma,
    test_prediction.probability_meningioma,
    test_prediction.probability_normal,
    test_prediction.probability_pituitary,
    coalesce(snapshot_image.group_key, test_prediction.image_sha256) as group_key,
    coalesce(snapshot_image.has_patient, false) as has_patient
from test_prediction
join evaluation using (evaluation_id)
left join snapshot_image using (snapshot_id, image_sha256);
comment on view evaluated_image is
    'One row per evaluation and image: label, prediction and group of related images. Key: evaluation_id, image_sha256. '
    'Example: how many groups are in the test split of a model?';
comment on column evaluated_image.model_version_id is 'The evaluated model.';
comment on column evaluated_image.split is 'Evaluated split.';
