-- Test images with another class from the other model. An image that only one of them predicted counts too.
with predicted as (
    select evaluation.model_version_id, test_prediction.image_sha256, test_prediction.predicted_class
    from test_prediction
    join evaluation using (evaluation_id)
    where evaluation.snapshot_id = :snapshot and evaluation.split = 'test'
)
select count(*)
from (select image_sha256, predicted_class from predicted where model_version_id = :ours) as ours
full join (select image_sha256, predicted_class from predicted where model_version_id = :theirs) as theirs
    using (image_sha256)
where ours.predicted_class is distinct from theirs.predicted_class
