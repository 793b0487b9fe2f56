-- Random frames that the person has reviewed before, has not repeated yet, and does not repeat in a session of the last day.
select scan_id, frame_index
from current_review as frame
where reviewer = :person and reviewed_at < now() - make_interval(days => :days)
  and not {% include "review/is_replaced.sql" %}
  and finding in ('glioma', 'meningioma', 'normal', 'pituitary')
  and not exists (
    select from review as repeated
    where repeated.scan_id = frame.scan_id and repeated.frame_index = frame.frame_index
      and repeated.reviewer = :person and repeated.purpose = 'repeat')
  and not exists (
    select from review_session_item as item
    join review_session using (review_session_id)
    where review_session.reviewer = :person and started_at > now() - interval '1 day' and item.purpose = 'repeat'
      and item.scan_id = frame.scan_id and item.frame_index = frame.frame_index)
order by random()
limit :limit
