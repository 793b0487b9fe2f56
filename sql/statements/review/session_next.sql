-- The next frame of a session without a review, after the frame (scan, frame) and then from the beginning. A frame whose
-- file was overwritten meanwhile is skipped.
select scan_id, frame_index
from review_session_item as frame
where review_session_id = :session
  and (scan_id, frame_index) is distinct from (cast(:scan as bigint), cast(:frame as integer))
  and not {% include "review/is_reviewed_in_session.sql" %}
  and not {% include "review/is_replaced.sql" %}
order by
    place > coalesce((
        select place from review_session_item
        where review_session_id = :session and scan_id = :scan and frame_index = :frame), -1) desc,
    place
limit 1
