-- daily_summary: one row per day (UTC), model and class. Example: how many gliomas were predicted yesterday?
-- A prediction of a model that is withdrawn now counts for review, and so does one of an image under two patients. Predictions
-- of a rescore count on their own day, in addition to the earlier ones. current_prediction has the current ones only.
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
comment on view daily_summary is
    'One row per day (UTC), model and class, over all predictions, current or not. Key: scored_date, model_name, '
    'predicted_class. Example: how many gliomas were predicted yesterday?';
comment on column daily_summary.scored_date is 'Day of the predictions (UTC).';
comment on column daily_summary.model_name is 'Model of the predictions.';
comment on column daily_summary.predicted_class is 'Predicted class.';
comment on column daily_summary.count_frame is 'Frames with this prediction.';
comment on column daily_summary.count_for_review is 'Of these, frames with a review reason now.';
comment on column daily_summary.mean_confidence is 'Mean confidence of these predictions.';

-- rejection_summary: one row per day (UTC) and reason. Example: why were files rejected this week?
create view rejection_summary as
select
    (rejected_at at time zone 'utc')::date as rejected_date,
    reason,
    count(distinct scan_id) as count_scan
from rejection
group by rejected_date, reason;
comment on view rejection_summary is
    'One row per day (UTC) and reason code. Key: rejected_date, reason. Example: why were files rejected this week?';
comment on column rejection_summary.rejected_date is 'Day of the rejections (UTC).';
comment on column rejection_summary.reason is 'Reason code.';
comment on column rejection_summary.count_scan is 'Scans rejected on this day for this reason, each counted once.';

-- rejected_scan: one row per scan and run that rejected it. Example: how many different scans were rejected this month?
create view rejected_scan as
select scan_id, scoring_run_id, reason, rejected_at from rejection;
comment on view rejected_scan is
    'One row per scan and run that rejected it. Key: scan_id, scoring_run_id. Example: how many different scans were '
    'rejected this month?';

-- model_leaderboard: one row per model version, snapshot and split. Example: which model is best on test?
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
comment on view model_leaderboard is
    'One row per model version, snapshot and split, with the metrics. Key: model_name, snapshot_id, split. Example: '
    'which model is best on test?';
comment on column model_leaderboard.model_name is 'Name of the model.';
comment on column model_leaderboard.recipe_override is
    'Recipe values of the training that differ from the recipe file; {} without overrides.';
comment on column model_leaderboard.split is 'Evaluated split: train, validation or test.';
comment on column model_leaderboard.count_access is
    'Evaluations of the model on this split. More than 1 on test weakens the result.';
comment on column model_leaderboard.is_champion is 'Whether the model is the champion now.';
comment on column model_leaderboard.is_override is
    'Whether the model''s last promotion was an override; false without one.';
comment on column model_leaderboard.is_withdrawn is 'Whether the model is withdrawn now.';
