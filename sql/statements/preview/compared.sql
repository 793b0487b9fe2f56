-- One row per frame with the predictions of two models, before and after. The file `pairs` selects the predictions.
-- `loss` is the decrease of the probability of the class before. `severity` orders the kinds of changes.
with compared as (
    select
        before_prediction.scan_id,
        before_prediction.frame_index,
        before_prediction.predicted_class as before,
        before_prediction.confidence as before_confidence,
        before_prediction.activation_map as before_map,
        after_prediction.predicted_class as after,
        after_prediction.confidence as after_confidence,
        after_prediction.activation_map as after_map,
        before_prediction.confidence - case before_prediction.predicted_class
            when 'glioma' then after_prediction.probability_glioma
            when 'meningioma' then after_prediction.probability_meningioma
            when 'normal' then after_prediction.probability_normal
            when 'pituitary' then after_prediction.probability_pituitary
        end as loss,
        case
            when before_prediction.predicted_class = after_prediction.predicted_class then 3
            when after_prediction.predicted_class = 'normal' then 0
            when before_prediction.predicted_class = 'normal' then 1
            else 2
        end as severity
    {% include pairs %}
)
