-- prediction_history: one row per frame and model with a prediction, current or not. Example: which predictions did scan 17
-- have before the rescore, and which were copied from a scan with the same bytes?
create view prediction_history as
select
    prediction.scan_id,
    prediction.frame_index,
    model_version.model_name,
    prediction.predicted_class,
    prediction.confidence,
    prediction.margin,
    prediction.prediction_set,
    prediction.review_reasons,
    prediction.copied_from_scan_id,
    scan.content_sha256,
    prediction.scoring_run_id,
    prediction.scored_at
from prediction
join scan using (scan_id)
join model_version using (model_version_id);
comment on view prediction_history is
    'One row per frame and model with a prediction, current or not. Key: scan_id, frame_index, model_name. Example: '
    'which predictions did scan 17 have before the rescore?';
