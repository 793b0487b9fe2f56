-- Predictions of a model for the test split of its newest evaluation, by class and tenth of confidence, in images and in
-- patients. Each patient has weight 1. A group of near-duplicates counts as one patient if no patient is known.
with image as (
    select
        predicted_class::text as label,
        confidence_bin(greatest(
            probability_glioma, probability_meningioma, probability_normal, probability_pituitary))::text as tenth,
        count(*) over (partition by group_key) as count_of_patient
    from evaluated_image
    where evaluation_id = (
        select max(evaluation_id) from evaluation where model_version_id = :model and split = 'test')
)
select
    label,
    tenth,
    count(*) as count_frame,
    sum(1.0 / count_of_patient)::double precision as people,
    0 as count_run
from image
group by label, tenth
