-- current_prediction: one row per frame, the answer that stands. Example: what did we say of scan 17, and who should look?
-- The answer of the latest run stands, whenever its rows were written: of a night, by the champion of then, or of a
-- rescore, which the champion or an approved model answers. A rescore whose model had answered a scan before makes that
-- answer stand again, with the scored_at that it always had.
-- The answers of a withdrawn model have the reason model_withdrawn, those of a picture that is filed under two patients
-- same_content_other_patient; their rows in prediction stay as they were written.
-- risk_rank_at_scoring is the place on the worklist by the reasons that were written, is_settled whether people settled the
-- frame, is_conflict whether they see it differently; both are kept on the answers that there were then, so of any answer.
-- Written as "no later answer of the frame", not as the first of a sort, so that Postgres can take up few frames of many in
-- whatever order a query needs; and with single values, not exists, where a plan for all rows would be far dearer for few.
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
    prediction.scored_at
from prediction
join scan using (scan_id)
join model_version using (model_version_id)
left join withdrawn_model on withdrawn_model.model_version_id = prediction.model_version_id
where not exists (
    select from prediction as other
    where other.scan_id = prediction.scan_id
      and other.frame_index = prediction.frame_index
      and other.model_version_id <> prediction.model_version_id
      and (
        greatest(other.scoring_run_id, (
            select max(again.scoring_run_id)
            from rescore as again
            join scoring_run on scoring_run.scoring_run_id = again.scoring_run_id
            where again.scan_id = other.scan_id
              and again.state = 'already_scored'
              and scoring_run.model_version_id = other.model_version_id)),
        other.scored_at,
        other.model_version_id
      ) > (
        greatest(prediction.scoring_run_id, (
            select max(again.scoring_run_id)
            from rescore as again
            join scoring_run on scoring_run.scoring_run_id = again.scoring_run_id
            where again.scan_id = prediction.scan_id
              and again.state = 'already_scored'
              and scoring_run.model_version_id = prediction.model_version_id)),
        prediction.scored_at,
        prediction.model_version_id
      )
);
