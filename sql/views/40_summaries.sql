-- daily_summary: one row per day (UTC), model and class. Example: how many gliomas did we flag yesterday?
-- Every answer of a model that is withdrawn now counts as one for review, and every one to a picture that is filed under
-- two patients. Answers of a rescore count on their own day, beside those that they replace: what stands now is in
-- current_prediction.
create view daily_summary as
select
    (prediction.scored_at at time zone 'utc')::date as scored_date,
    model_version.model_name,
    prediction.predicted_class,
    count(*) as count_frame,
    count(*) filter (
        where cardinality(prediction.review_reasons) > 0
           or withdrawn_model.model_version_id is not null
           or exists (select from cross_patient_duplicate_pair as pair where pair.scan_id = prediction.scan_id)
    ) as count_for_review,
    avg(prediction.confidence) as mean_confidence
from prediction
join model_version using (model_version_id)
left join withdrawn_model on withdrawn_model.model_version_id = prediction.model_version_id
group by scored_date, model_version.model_name, prediction.predicted_class;

-- rejection_summary: one row per day (UTC) and reason. Example: what kept files from being scored this week?
create view rejection_summary as
select
    (rejected_at at time zone 'utc')::date as rejected_date,
    reason,
    count(*) as count_scan
from rejection
group by rejected_date, reason;

-- model_leaderboard: one row per model version, snapshot and split. Example: which model does best on test?
create view model_leaderboard as
select
    model_version.model_name,
    model_version.backbone,
    training_run.recipe_name,
    training_run.recipe_override,
    training_run.initialization,
    evaluation.snapshot_id,
    evaluation.split,
    evaluation.count_image,
    evaluation.accuracy,
    evaluation.accuracy_low,
    evaluation.accuracy_high,
    evaluation.macro_precision,
    evaluation.macro_recall,
    evaluation.macro_f1,
    evaluation.tumor_sensitivity,
    evaluation.expected_calibration_error,
    evaluation.uncalibrated_error,
    evaluation.images_per_second,
    evaluation.measured_on,
    (select count(*) from test_set_access where test_set_access.evaluation_id = evaluation.evaluation_id) as count_access,
    model_status.is_champion,
    model_status.is_override,
    model_status.withdrawn_at is not null as is_withdrawn,
    evaluation.evaluated_at
from evaluation
join model_version using (model_version_id)
join model_status on model_status.model_version_id = evaluation.model_version_id
join training_run using (training_run_id);
