-- Copies the predictions of original scans to their duplicates.
insert into prediction (
    scan_id, scoring_run_id, copied_from_scan_id, frame_index, model_version_id, predicted_class, confidence, margin,
    probability_glioma, probability_meningioma, probability_normal, probability_pituitary, prediction_set,
    out_of_distribution, second_class, second_confidence, review_reasons, activation_map, engine, preprocessing)
select
    copy.scan_id, :run, coalesce(copied_from_scan_id, prediction.scan_id), frame_index, model_version_id,
    predicted_class, confidence, margin, probability_glioma, probability_meningioma, probability_normal,
    probability_pituitary, prediction_set, out_of_distribution, second_class, second_confidence, review_reasons,
    activation_map, engine, preprocessing
from unnest(cast(:scans as bigint[]), cast(:originals as bigint[])) as copy (scan_id, original_id)
join prediction on prediction.scan_id = copy.original_id
where {% include "scoring/same_prediction.sql" %}
