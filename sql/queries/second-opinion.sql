-- For which frames does the second model predict another class?
select scan_id, frame_index, model_name, predicted_class, confidence, second_class, second_confidence
from braintumor.current_prediction
where second_class <> predicted_class
order by confidence, scan_id, frame_index;
