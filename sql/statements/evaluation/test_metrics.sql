-- Metrics of each model on the snapshot that it was trained on, one row per model.
select
    model_name, test.accuracy, test.accuracy_low, test.accuracy_high, test.count_image, test.tumor_sensitivity,
    validation.accuracy as validation_accuracy
from model_version
join training_run using (training_run_id)
join evaluation as test using (model_version_id, snapshot_id)
left join evaluation as validation
    on validation.model_version_id = test.model_version_id
    and validation.snapshot_id = test.snapshot_id and validation.split = 'validation'
where test.split = 'test'
