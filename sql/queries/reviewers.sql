-- How many frames did each reviewer review, how quickly, and how often with a tumor as the finding?
select
    reviewer,
    count(*) as count_frame,
    percentile_cont(0.5) within group (order by seconds) as median_seconds,
    count(*) filter (where finding in ('glioma', 'meningioma', 'pituitary')) as count_tumor,
    count(*) filter (where finding = 'cannot_tell') as count_cannot_tell
from braintumor.current_review
group by reviewer
order by reviewer;
