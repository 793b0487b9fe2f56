-- Condition on `frame` (scan_id, frame_index): its prediction is hidden from a person. The function `is_blind` gives the rules.
(exists (
    select from scan
    where scan.scan_id = frame.scan_id and audit_probability is not null
      and not exists (
        select from review where review.scan_id = scan.scan_id and (reviewer = :person or not :is_reviewer))
) or exists (
    select from review_session_item as item
    join review_session using (review_session_id)
    where item.scan_id = frame.scan_id and item.frame_index = frame.frame_index
      and reviewer = :person and purpose = 'repeat' and started_at > now() - interval '1 day'
      and not exists (
        select from review
        where review.review_session_id = item.review_session_id
          and review.scan_id = item.scan_id and review.frame_index = item.frame_index)
))
