-- The prediction of one frame, with its object, model, training run, scoring run and promotion.
select
    prediction.scan_id,
    prediction.frame_index,
    prediction.predicted_class::text as predicted_class,
    prediction.confidence,
    prediction.probability_glioma,
    prediction.probability_meningioma,
    prediction.probability_normal,
    prediction.probability_pituitary,
    prediction.prediction_set::text[] as prediction_set,
    prediction.out_of_distribution,
    prediction.review_reasons,
    scan_location.etag,
    scan.size_bytes,
    scan.content_sha256,
    prediction.preprocessing,
    model_version.model_name,
    model_version.artifact_sha256s,
    training_run.snapshot_id,
    training_run.recipe_name,
    training_run.recipe_override,
    training_run.code_version,
    scoring_run.scoring_run_id,
    scoring_run.run_key,
    prediction.engine,
    prediction.copied_from_scan_id,
    prediction.scored_at,
    promotion.action::text as promotion_action,
    promotion.actor as promotion_actor,
    promotion.reason as promotion_reason,
    promotion.is_override,
    promotion.promoted_at,
    gate_verdict.is_passed as is_gate_passed,
    gate_verdict.summary as gate_summary
from prediction
join scan using (scan_id)
join scan_location using (scan_id)
join model_version using (model_version_id)
join training_run using (training_run_id)
join scoring_run on scoring_run.scoring_run_id = prediction.scoring_run_id
left join lateral (
    select * from promotion
    where promotion.model_version_id = prediction.model_version_id and promoted_at <= scoring_run.started_at
    order by promotion_id desc limit 1) as promotion on true
left join gate_verdict using (gate_verdict_id)
where prediction.scan_id = :scan and prediction.frame_index = :frame
  and model_version.model_name = coalesce(
    cast(:model as text),
    (select model_name from current_prediction where scan_id = :scan and frame_index = :frame),
    (select model_name from prediction_history where scan_id = :scan and frame_index = :frame
     order by scored_at desc limit 1))  -- of an overwritten file
