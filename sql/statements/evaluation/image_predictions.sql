-- The predictions of a model for the images of a split.
select
    test_prediction.image_sha256,
    test_prediction.label::text as label,
    test_prediction.predicted_class::text as predicted,
    test_prediction.probability_glioma,
    test_prediction.probability_meningioma,
    test_prediction.probability_normal,
    test_prediction.probability_pituitary,
    coalesce(snapshot_image.group_key, test_prediction.image_sha256) as group_key,
    coalesce(snapshot_image.has_patient, false) as has_patient
from test_prediction
join evaluation using (evaluation_id)
left join snapshot_image using (snapshot_id, image_sha256)
where evaluation.model_version_id = :model and snapshot_id = :snapshot
  and evaluation.split = cast(:split as split)
