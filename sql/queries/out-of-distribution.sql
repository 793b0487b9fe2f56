-- Which current predictions are for frames that are least similar to the training images of their model?
select scan_id, frame_index, model_name, out_of_distribution, predicted_class, confidence
from braintumor.current_prediction
where 'out_of_distribution' = any(review_reasons)
order by out_of_distribution desc, scan_id, frame_index;
