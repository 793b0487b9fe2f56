-- Retracts the last review of a person, and says whether the file of its frame was overwritten. No row without a review.
with last as (
    select review_id, scan_id, frame_index, review_session_id
    from review
    where reviewer = :person and not exists (
        select from review_retraction where review_retraction.review_id = review.review_id)
    order by review_id desc
    limit 1
),
retracted as (
    insert into review_retraction (review_id) select review_id from last
    on conflict do nothing
    returning review_id
)
select frame.*, {% include "review/is_replaced.sql" %} as is_replaced
from last as frame
join retracted using (review_id)
