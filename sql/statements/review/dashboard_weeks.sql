-- The predictions of each week: frames, share of each class, mean confidence.
select
    date_trunc('week', scored_at at time zone 'utc')::date as week,
    count(*) as count_frame,
    avg((predicted_class = 'glioma')::integer)::float as glioma,
    avg((predicted_class = 'meningioma')::integer)::float as meningioma,
    avg((predicted_class = 'normal')::integer)::float as normal,
    avg((predicted_class = 'pituitary')::integer)::float as pituitary,
    avg(confidence)::float as confidence
from prediction
where (scored_at at time zone 'utc')::date  -- the expression of the index
    >= date_trunc('week', now() at time zone 'utc')::date - 7 * (:weeks - 1)
group by week
order by week
