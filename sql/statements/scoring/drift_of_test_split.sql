-- Predictions of a model for the test split of its newest evaluation, by class and tenth of confidence, in images and in
-- patients. Each patient has weight 1. A group of near-duplicates counts as one patient if no patient is known.
with image as (
    select
        group_key,
        predicted_class::text as label,
        confidence_bin(greatest(
            probability_glioma, probability_meningioma, probability_normal, probability_pituitary))::text as tenth
    from evaluated_image
    where evaluation_id = (
        select max(evaluation_id) from evaluation where model_version_id = :model and split = 'test')
),
person as (
    select group_key, count(*) as count_frame from image group by group_key
)
select
    label,
    tenth,
    count(*) as count_frame,
    sum(1.0 / person.count_frame)::double precision as people,
    0 as count_run
from image
join person using (group_key)
group by label, tenth
