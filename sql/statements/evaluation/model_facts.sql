-- Number of weights and temperature of a model, its newest retrain run, and counts of its snapshot.
select
    model_version.count_parameter, model_version.temperature,
    snapshot.source_uri, snapshot.count_image, snapshot.count_identified,
    snapshot.count_patient_identified, snapshot.count_kept_from_test, snapshot.exempt_classes,
    coalesce((
        select run_key from gate_verdict
        where gate_verdict.model_version_id = model_version.model_version_id
        order by gate_verdict_id desc limit 1
    ), '') as run_key,
    exists (select from page where page_uri = artifact_uri || :evidence) as has_evidence
from model_version
join training_run using (training_run_id)
join snapshot using (snapshot_id)
where model_version_id = :id
