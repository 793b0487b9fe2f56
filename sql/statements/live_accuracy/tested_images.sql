-- The test images of the snapshot that a model was trained on, with the group of related images.
select group_key, label <> 'normal' as is_tumor, 1 - probability_normal as tumor_probability
from evaluated_image
join model_version using (model_version_id)
join training_run using (training_run_id, snapshot_id)
where model_version.model_name = :name and split = 'test'
order by image_sha256
