-- For which frames do two models predict different classes?
select
    scan_id,
    frame_index,
    first.model_name,
    first.predicted_class,
    second.model_name as other_model_name,
    second.predicted_class as other_predicted_class,
    second.scored_at as other_scored_at
from braintumor.prediction_history as first
join braintumor.prediction_history as second using (scan_id, frame_index)
where first.model_name < second.model_name and first.predicted_class <> second.predicted_class
order by scan_id, frame_index, first.model_name, second.model_name;
