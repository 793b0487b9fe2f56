-- How many hours pass from arrival to the first prediction and from there to the first review, by predicted class?
select
    predicted_class,
    count(*) as count_frame,
    count(reviewed_at) as count_reviewed,
    percentile_cont(0.5) within group (order by extract(epoch from arrival_to_score) / 3600) as median_hours_to_score,
    percentile_cont(0.5) within group (order by extract(epoch from score_to_review) / 3600) as median_hours_to_review
from braintumor.time_to_review
group by predicted_class
order by predicted_class;
