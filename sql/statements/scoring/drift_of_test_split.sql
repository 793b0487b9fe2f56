-- Predictions of a model for its test split, by class and tenth of confidence.
select
    predicted_class::text as label,
    confidence_bin(greatest(
        probability_glioma, probability_meningioma, probability_normal, probability_pituitary))::text as tenth,
    count(*) as count_frame,
    count(*)::double precision as people,
    0 as count_run
from test_prediction
join evaluation using (evaluation_id)
where evaluation.model_version_id = :model and evaluation.split = 'test'
group by 1, 2
