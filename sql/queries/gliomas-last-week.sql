-- How many frames scored last week (Monday to Sunday, UTC) have the predicted class glioma, by confidence band?
select
    round(braintumor.confidence_bin(confidence) / 10.0, 1) as confidence_from,
    count(*) as count_frame,
    count(distinct scan_id) as count_scan
from braintumor.current_prediction
where predicted_class = 'glioma'
  and scored_at >= (date_trunc('week', now() at time zone 'utc') - interval '7 days') at time zone 'utc'
  and scored_at < date_trunc('week', now() at time zone 'utc') at time zone 'utc'
group by confidence_from
order by confidence_from;
