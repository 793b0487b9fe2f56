-- The frame of a session before the frame (scan, frame), reviewed or not. A frame whose file was overwritten is skipped.
select scan_id, frame_index
from review_session_item as frame
where review_session_id = :session
  and not {% include "review/is_replaced.sql" %}
  and place < (
    select place from review_session_item
    where review_session_id = :session and scan_id = :scan and frame_index = :frame)
order by place desc
limit 1
