-- latest_prediction: one row per frame, the answer that stands. Example: what did we say of scan 17, and who should look?
-- The answer of the latest run stands, whenever its rows were written: of a night, by the champion of then, or of a
-- rescore, which the champion or an approved model answers. A rescore whose model had answered a scan before makes that
-- answer stand again, with the scored_at that it always had.
-- The answers of a withdrawn model have the reason model_withdrawn; their rows in prediction stay as they were written.
create view latest_prediction as
with answered_again as (
    select
        rescore.scan_id,
        scoring_run.model_version_id,
        max(rescore.scoring_run_id) as last_run_id
    from rescore
    join scoring_run using (scoring_run_id)
    where rescore.state = 'already'
    group by rescore.scan_id, scoring_run.model_version_id
),
newest as (
    select distinct on (scan_id, frame_index)
        scan_id,
        frame_index,
        model_version_id,
        scoring_run_id,
        predicted_class,
        confidence,
        margin,
        probability_glioma,
        probability_meningioma,
        probability_normal,
        probability_pituitary,
        review_reasons,
        scored_at
    from prediction
    left join answered_again using (scan_id, model_version_id)
    order by scan_id, frame_index, greatest(scoring_run_id, last_run_id) desc, scored_at desc
)
select
    newest.scan_id,
    newest.frame_index,
    newest.scoring_run_id,
    scan.study_pseudonym,
    scan.series_pseudonym,
    scan.patient_pseudonym,
    scan.format,
    newest.predicted_class,
    newest.confidence,
    newest.margin,
    newest.probability_glioma,
    newest.probability_meningioma,
    newest.probability_normal,
    newest.probability_pituitary,
    case
        when withdrawn_model.model_version_id is null then newest.review_reasons
        else array_append(newest.review_reasons, 'model_withdrawn')
    end as review_reasons,
    model_version.model_name,
    scan.arrived_at,
    newest.scored_at
from newest
join scan using (scan_id)
join model_version using (model_version_id)
left join withdrawn_model on withdrawn_model.model_version_id = newest.model_version_id;
