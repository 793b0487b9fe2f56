-- repeated_prediction: one row per scan and rescore that made an earlier prediction of its model current again.
-- Example: which rescores changed nothing because the model had predicted the scan before?
create view repeated_prediction as
select rescore.scan_id, scoring_run.model_version_id, rescore.scoring_run_id, rescore.processed_at
from rescore
join scoring_run using (scoring_run_id)
where rescore.state = 'already_scored';
comment on view repeated_prediction is
    'One row per scan and rescore that made an earlier prediction of its model current again. Key: scan_id, '
    'scoring_run_id. Example: which rescores reused predictions?';
comment on column repeated_prediction.scan_id is 'The scan.';
comment on column repeated_prediction.model_version_id is 'The model of the rescore and of the earlier prediction.';
comment on column repeated_prediction.scoring_run_id is 'The rescore.';
comment on column repeated_prediction.processed_at is 'Time when the earlier prediction became current again.';

-- current_prediction: one row per frame, the prediction of the latest run. Example: what is the prediction for scan 17?
-- The latest run is a scoring run or a rescore, by its number and not by the time of its rows. A rescore that repeats a
-- model's earlier prediction reuses its row and scored_at (repeated_prediction).
-- An overwritten file is a new scan, and the scan of its earlier version is left out. prediction_history keeps its rows.
-- Predictions of a withdrawn model have the added reason model_withdrawn, those of images under two patients
-- same_content_other_patient. Their rows in prediction do not change.
-- is_settled, is_conflict and is_scan_judged belong to the frame, so they are true if any prediction of the frame has them.
-- The query says "no later prediction of the frame" instead of sorting, because Postgres can then read few frames of many in
-- any order. It uses scalar subqueries instead of exists, because a plan for all rows is much slower for few rows.
create view current_prediction as
select
    prediction.scan_id,
    prediction.frame_index,
    prediction.scoring_run_id,
    prediction.model_version_id,
    scan.study_pseudonym,
    scan.series_pseudonym,
    scan.patient_pseudonym,
    scan.format,
    prediction.predicted_class,
    prediction.confidence,
    prediction.margin,
    prediction.probability_glioma,
    prediction.probability_meningioma,
    prediction.probability_normal,
    prediction.probability_pituitary,
    prediction.prediction_set,
    prediction.out_of_distribution,
    prediction.second_class,
    prediction.second_confidence,
    prediction.review_reasons
        || case when withdrawn_model.model_version_id is null then '{}' else array['model_withdrawn'] end
        || coalesce((
            select array['same_content_other_patient']
            from cross_patient_duplicate_pair as pair
            where pair.scan_id = prediction.scan_id
            limit 1), '{}') as review_reasons,
    prediction.risk_rank as risk_rank_at_scoring,
    prediction.is_settled or (
        select bool_or(other.is_settled) from prediction as other
        where other.scan_id = prediction.scan_id and other.frame_index = prediction.frame_index) as is_settled,
    prediction.is_conflict or (
        select bool_or(other.is_conflict) from prediction as other
        where other.scan_id = prediction.scan_id and other.frame_index = prediction.frame_index) as is_conflict,
    model_version.model_name,
    scan.arrived_at,
    prediction.scored_at,
    prediction.is_scan_judged or (
        select bool_or(other.is_scan_judged) from prediction as other
        where other.scan_id = prediction.scan_id and other.frame_index = prediction.frame_index) as is_scan_judged
from prediction
join scan using (scan_id)
join model_version using (model_version_id)
left join withdrawn_model on withdrawn_model.model_version_id = prediction.model_version_id
where not scan.is_replaced and not exists (
    select from prediction as other
    where other.scan_id = prediction.scan_id
      and other.frame_index = prediction.frame_index
      and other.model_version_id <> prediction.model_version_id
      and (
        greatest(other.scoring_run_id, (
            select max(again.scoring_run_id)
            from repeated_prediction as again
            where again.scan_id = other.scan_id and again.model_version_id = other.model_version_id)),
        other.scored_at,
        other.model_version_id
      ) > (
        greatest(prediction.scoring_run_id, (
            select max(again.scoring_run_id)
            from repeated_prediction as again
            where again.scan_id = prediction.scan_id and again.model_version_id = prediction.model_version_id)),
        prediction.scored_at,
        prediction.model_version_id
      )
);
comment on view current_prediction is
    'One row per frame: the prediction of the latest run. Scans whose file was overwritten are left out, because its '
    'new version is another scan. For review, not for diagnosis. Key: scan_id, frame_index. Example: what is the '
    'prediction for scan 17?';
comment on column current_prediction.review_reasons is
    'Reasons for a review, as written at scoring, plus model_withdrawn and same_content_other_patient as of now; '
    'empty without one.';
comment on column current_prediction.risk_rank_at_scoring is
    'Rank on the worklist by the reasons written at scoring, lowest first: 3, 5 to 9.';
comment on column current_prediction.is_settled is 'Whether reviewers have settled the frame, by frame_consensus.';
comment on column current_prediction.is_conflict is 'Whether reviewers disagree about the frame, by frame_consensus.';
comment on column current_prediction.is_scan_judged is
    'Whether a reviewer has judged a frame of the scan: a finding other than cannot_tell and unusable_image.';
