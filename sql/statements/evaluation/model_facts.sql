-- Numbers of weights and temperature of a model, and counts of its snapshot.
select
    model_version.count_parameter, model_version.temperature,
    snapshot.source_uri, snapshot.count_image, snapshot.count_identified,
    snapshot.count_patient_identified, snapshot.count_kept_from_test, snapshot.exempt_classes
from model_version
join training_run using (training_run_id)
join snapshot using (snapshot_id)
where model_version_id = :id
