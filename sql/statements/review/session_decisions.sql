-- The decisions of a session that were not retracted, in the order of the session, each with the model's class.
select
    item.scan_id,
    item.frame_index,
    decision.finding::text as finding,
    decision.seconds,
    predicted_class::text as predicted_class
from review_session_item as item
cross join lateral (
    select finding, seconds, model_version_id
    from review
    left join review_retraction using (review_id)
    where review_session_id = item.review_session_id and scan_id = item.scan_id and frame_index = item.frame_index
      and retracted_at is null
    order by review_id desc
    limit 1
) as decision
join prediction
    on prediction.scan_id = item.scan_id and prediction.frame_index = item.frame_index
    and prediction.model_version_id = decision.model_version_id
where item.review_session_id = :session
order by place
