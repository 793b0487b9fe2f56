-- Whether the prediction of a frame is hidden from a person. The function `is_blind` gives the rules.
select exists (
    select from scan
    where scan_id = :scan and audit_probability is not null
      and not exists (
        select from review where review.scan_id = scan.scan_id and (reviewer = :person or not :is_reviewer))
) or exists (
    select from review_session_item
    join review_session using (review_session_id)
    where scan_id = :scan and frame_index = :frame and reviewer = :person and purpose = 'repeat'
      and started_at > now() - interval '1 day'
      and not exists (
        select from review
        where review.review_session_id = review_session_item.review_session_id
          and review.scan_id = review_session_item.scan_id and review.frame_index = review_session_item.frame_index)
)
