-- prediction_history: one row per frame and model that answered it, whether or not the answer stands. Example: what was said of
-- scan 17 before the rescore, and of which scans was no model asked, as it had answered the same bytes before?
create view prediction_history as
select
    prediction.scan_id,
    prediction.frame_index,
    model_version.model_name,
    prediction.predicted_class,
    prediction.confidence,
    prediction.margin,
    prediction.review_reasons,
    prediction.copied_from_scan_id,
    scan.content_sha256,
    prediction.scoring_run_id,
    prediction.scored_at
from prediction
join scan using (scan_id)
join model_version using (model_version_id);
comment on view prediction_history is
    'One row per frame and model that answered it, whether or not the answer stands. Example: what was said of scan 17 before?';
